"""Which hours a run is about: the interval whose arrivals it cleans, the event hours it touches."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

#: Redshift's Data API takes statements of 100 KB; a predicate stands in one beside other text.
MAX_PREDICATE_CHARACTERS = 60_000


@dataclass(frozen=True)
class Interval:
    """Arrival hours from `start` to `end` (exclusive): one UTC hour or one UTC day.

    Attributes:
        ready_at: when Firehose has surely delivered all of it; a run a person started does not
            wait, and takes what is there.
    """

    start: datetime
    end: datetime
    ready_at: datetime

    def __post_init__(self) -> None:
        length = self.end - self.start
        whole_hour = self.start == self.start.replace(minute=0, second=0, microsecond=0)
        whole_day = whole_hour and self.start.hour == 0
        if not (length == timedelta(hours=1) and whole_hour) and not (
            length == timedelta(days=1) and whole_day
        ):
            raise ValueError(
                f"the interval {self.start:%Y-%m-%dT%H:%M:%S} to {self.end:%Y-%m-%dT%H:%M:%S} is "
                "neither one UTC hour nor one UTC day; give the form a date"
            )

    @property
    def is_hour(self) -> bool:
        """Whether it is one hour, not a day."""
        return self.end - self.start == timedelta(hours=1)

    @property
    def key(self) -> str:
        """Its name in S3 keys: ``2026-11-20``, or ``2026-11-20T07`` for an hour."""
        return f"{self.start:%Y-%m-%dT%H}" if self.is_hour else f"{self.start:%Y-%m-%d}"

    @property
    def raw_pattern(self) -> str:
        """Wildcard of its raw keys, below the raw prefix."""
        day = f"{self.start:year=%Y/month=%m/day=%d/}"
        return f"{day}hour={self.start:%H}/*" if self.is_hour else f"{day}*"

    @property
    def arrival_hours(self) -> str:
        """SQL predicate on the partitions of click_events_raw."""
        day = f"year = {self.start.year} AND month = {self.start.month} AND day = {self.start.day}"
        return f"{day} AND hour = {self.start.hour}" if self.is_hour else day

    def to_xcom(self) -> dict[str, str]:
        """Text that templates and `from_xcom` take: times as ``2026-11-20 07:00:00`` in UTC."""
        return {
            "start": f"{self.start:%Y-%m-%d %H:%M:%S}",
            "end": f"{self.end:%Y-%m-%d %H:%M:%S}",
            "ready_at": self.ready_at.isoformat(),
            "key": self.key,
            "raw_pattern": self.raw_pattern,
        }

    @classmethod
    def from_xcom(cls, value: dict[str, str]) -> Interval:
        """The interval that `to_xcom` wrote down."""
        start, end, ready_at = (
            datetime.fromisoformat(value[name]) for name in ("start", "end", "ready_at")
        )
        return cls(start.replace(tzinfo=UTC), end.replace(tzinfo=UTC), ready_at)


def resolve(
    *,
    form_date: str | None,
    data_interval: tuple[datetime, datetime] | None,
    run_after: datetime,
    length: timedelta,
    delivery_delay: timedelta | None,
) -> Interval:
    """The interval of a run, however it was started.

    Args:
        form_date: the date a person gave; it wins.
        data_interval: the run's own; a run of an asset or of the REST API may have none.
        run_after: when the run was due; without the two above, the last interval complete by
            then. (Not the current time: a cleared run must mean the same hours again.)
        length: of one scheduled interval.
        delivery_delay: how long after its end the interval is ready; None when a person started
            the run.

    Raises:
        ValueError: one sentence for the person who gave the date.
    """
    if form_date:
        start = _day(form_date, latest=run_after.astimezone(UTC).date())
        return Interval(start, start + timedelta(days=1), ready_at=start)
    if data_interval:
        start, end = (moment.astimezone(UTC) for moment in data_interval)
    else:
        end = run_after.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        if length == timedelta(days=1):
            end = end.replace(hour=0)
        start = end - length
    return Interval(start, end, ready_at=start if delivery_delay is None else end + delivery_delay)


def _day(text: str, latest: date) -> datetime:
    try:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            raise ValueError
        day = datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"date is '{text}'; it must be a day like 2026-11-20") from None
    if day.date() > latest:
        raise ValueError(f"date is '{text}', which has not begun; the latest is {latest}")
    return day


def hours_predicate(hours: Iterable[datetime]) -> str:
    """SQL that holds for the rows of exactly these event hours, by their partition columns.

    It names the partition columns only, with AND, OR and IN, so Athena and Spectrum prune by it.
    Days of a month with the same hours share a term. Should late events of years still make it too
    long, whole days stand for their hours: replacing more hours by themselves changes no row.
    """
    hours_of: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for moment in sorted(set(hours)):
        hours_of[moment.year, moment.month, moment.day].append(moment.hour)
    predicate = _predicate(hours_of)
    if len(predicate) > MAX_PREDICATE_CHARACTERS:
        predicate = _predicate({day: list(range(24)) for day in hours_of})
    return predicate


def _predicate(hours_of: dict[tuple[int, int, int], list[int]]) -> str:
    days_of: dict[tuple[int, int, tuple[int, ...]], list[int]] = defaultdict(list)
    for (year, month, day), hours in hours_of.items():
        days_of[year, month, tuple(hours)].append(day)
    terms = []
    for (year, month, found), days in sorted(days_of.items()):
        term = f"year = {year} AND month = {month} AND day IN ({_list(days)})"
        if len(found) < 24:
            term += f" AND hour IN ({_list(found)})"
        terms.append(f"({term})")
    return f"({' OR '.join(terms)})" if terms else "1 = 0"


def _list(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
