"""One time-ordered stream of lines, out of journeys and dirt."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate

from producer.dirt import HOUR_MS, Rates, soil
from producer.journeys import Crowd, Event

#: Made at once: bounds the memory, whatever the number of events.
SLICE_EVENTS = 8_000

_HOUR_WEIGHTS = (22, 14, 9, 7, 6, 8, 14, 26, 40, 52, 58, 62,
                 66, 60, 56, 58, 62, 70, 82, 96, 100, 88, 62, 38)  # fmt: skip
_WEEKDAY_WEIGHTS = (100, 96, 94, 98, 108, 124, 130)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything the bytes depend on."""

    start: int
    end: int
    events: int
    users: int
    seed: int
    old_clients: float = 0.06
    rates: Rates = field(default_factory=Rates)
    late_days: float = 3.0
    #: Events come evenly instead of by hour and weekday.
    is_flat: bool = False


class Clock:
    """Turns a share of the window's events (0 to 1) into the time until which they happen."""

    def __init__(self, plan: Plan) -> None:
        self._edges = [plan.start, plan.end]
        if not plan.is_flat:
            first_hour = plan.start - plan.start % HOUR_MS + HOUR_MS
            self._edges[1:1] = range(first_hour, plan.end, HOUR_MS)
        weights = [
            (stop - start) * (1 if plan.is_flat else _weight(start))
            for start, stop in zip(self._edges, self._edges[1:], strict=False)
        ]
        self._sums = list(accumulate(weights, initial=0))

    def at(self, share: float) -> int:
        """Epoch milliseconds; ``at(0)`` is the window's start."""
        wanted = share * self._sums[-1]
        index = min(bisect_right(self._sums, wanted), len(self._edges) - 1) - 1
        low, high = self._sums[index], self._sums[index + 1]
        start, stop = self._edges[index], self._edges[index + 1]
        return start + int((wanted - low) / (high - low) * (stop - start))


def stream(plan: Plan) -> Iterator[list[Event]]:
    """The traffic in chunks, ordered by ``Event.at``; the same plan gives the same lines."""
    run = f"{plan.seed}/{plan.start}/{plan.end}/{plan.events}/{plan.users}"
    clock, crowd = Clock(plan), Crowd(plan.seed, run, plan.users, plan.end, plan.old_clients)
    dirt = random.Random(f"{run}/dirt")  # its own, so that dirt changes no clean event
    slices = -(-plan.events // SLICE_EVENTS)
    pending: list[Event] = []
    for index in range(slices):
        count = plan.events * (index + 1) // slices - plan.events * index // slices

        def draw_start(uniform: float, index: int = index) -> int:
            return clock.at((index + uniform) / slices)

        pending += soil(crowd.events(count, draw_start), plan.rates, plan.late_days, dirt)
        pending.sort()
        # Journeys go on into the next slice's time; only what no later journey precedes is ready.
        ready = bisect_right(pending, (clock.at((index + 1) / slices),))
        yield pending[:ready]
        del pending[:ready]
    yield pending


def _weight(at: int) -> int:
    moment = datetime.fromtimestamp(at / 1000, UTC)
    return _HOUR_WEIGHTS[moment.hour] * _WEEKDAY_WEIGHTS[moment.weekday()]
