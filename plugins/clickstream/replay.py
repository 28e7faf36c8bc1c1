"""Replaying the quarantine: which days to clean again, and what that has mended."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from clickstream.config import Config

ALL = "all"
#: Why the clean job rejects a line (glue/clickstream_contract/contract.py, which Airflow has not).
REASONS = (
    "GZIP_TRUNCATED",
    "GZIP_CORRUPT",
    "OVERSIZE",
    "UTF8",
    "NOT_AN_OBJECT",
    "CONCATENATED",
    "NUMERIC",
    "DEPTH",
    "JSON_SYNTAX",
    "UNICODE",
    "DUP_KEY",
    "TYPE",
    "MISSING_FIELD",
    "TIME",
    "ID_COLLISION",
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """What a person asks to replay: lines of a reason that arrived from one day to another."""

    reason: str
    first_day: str
    last_day: str

    def __post_init__(self) -> None:
        for name in ("first_day", "last_day"):
            value = getattr(self, name)
            try:
                is_day = str(date.fromisoformat(value)) == value
            except ValueError:
                is_day = False
            if not is_day:
                raise ValueError(f"{name} is '{value}'; it must be a day like 2026-11-20")
        if self.first_day > self.last_day:
            raise ValueError(
                f"first_day {self.first_day} lies after last_day {self.last_day}; swap them"
            )

    def asks_for(self, reason: str) -> bool:
        """Whether lines of this reason are meant."""
        return self.reason in (ALL, reason)


def count(config: Config, request: Request) -> list[Row]:
    """Ask Athena how many lines of each day and reason lie in quarantine."""
    from clickstream.engines import athena_rows

    return athena_rows(
        config,
        "athena/quarantine/count_reasons.sql",
        first_date=request.first_day,
        last_date=request.last_day,
    )


def days(request: Request, rows: Iterable[Row]) -> list[str]:
    """The days of arrival that hold lines of the reason, in order."""
    return sorted({row["day"] for row in rows if request.asks_for(row["reason"])})


def compare(request: Request, before: list[Row], after: list[Row]) -> dict[str, Any]:
    """What the replay changed: in total for the lines asked for, and by day for every reason.

    A line that is mended for one reason may be rejected for the next: there `mended` is negative.
    """
    replayed = days(request, before)
    was, is_now = (
        Counter({(row["day"], row["reason"]): row["line_count"] for row in rows})
        for rows in (before, after)
    )
    changes = [
        {
            "day": day,
            "reason": reason,
            "before": was[day, reason],
            "after": is_now[day, reason],
            "mended": was[day, reason] - is_now[day, reason],
        }
        for day, reason in sorted(was.keys() | is_now.keys())
        if day in replayed
    ]
    asked = [change for change in changes if request.asks_for(change["reason"])]
    return {
        "reason": request.reason,
        "first_day": request.first_day,
        "last_day": request.last_day,
        **{name: sum(change[name] for change in asked) for name in ("before", "after", "mended")},
        "days": changes,
    }


def describe(report: dict[str, Any]) -> str:
    """The report in one sentence."""
    what = "lines" if report["reason"] == ALL else f"{report['reason']} lines"
    span = f"from {report['first_day']} to {report['last_day']}"
    if not report["before"]:
        return f"There are no quarantined {what} {span}: nothing was replayed."
    replayed = len({change["day"] for change in report["days"]})
    return (
        f"{report['before']} quarantined {what} {span} on {replayed} days were replayed: "
        f"{report['mended']} mended, {report['after']} remain."
    )


def save(config: Config, started_at: datetime, report: dict[str, Any]) -> str:
    """Keep the report in the results bucket; returns its address."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    key = f"{config.prefixes.quality}replay/{started_at:%Y-%m-%dT%H%M%S.%f}.json"
    S3Hook(region_name=config.region).load_string(
        json.dumps(report, indent=1), key, config.buckets.results, replace=True
    )
    return f"s3://{config.buckets.results}/{key}"
