"""Whether the last minute had far more or far fewer events than those before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: How many minutes the average is taken over, and how many of them must have had events.
AVERAGE_MINUTES: Final = 30
LEAST_MINUTES: Final = 10
#: Below this average a doubling is chance.
LEAST_EVENTS: Final = 20.0
HIGH, LOW, NORMAL = "high", "low", "normal"
HIGH_FACTOR, LOW_FACTOR = 2.0, 0.5


def level(counts: Sequence[int]) -> tuple[str, float] | None:
    """The level of the last minute, and the average it is held against.

    Args:
        counts: events by minute, oldest first; the last one is judged by those before it.

    Returns:
        ``high`` from twice the average on, ``low`` up to half of it, else ``normal``; None while
        too little is known to tell.
    """
    *before, last = counts
    if sum(count > 0 for count in before) < LEAST_MINUTES:
        return None
    # Minutes before the first event were before the beginning, not without traffic.
    first = next(number for number, count in enumerate(before) if count)
    average = sum(before[first:]) / len(before[first:])
    if average < LEAST_EVENTS:
        return None
    if last >= HIGH_FACTOR * average:
        return HIGH, average
    if last <= LOW_FACTOR * average:
        return LOW, average
    return NORMAL, average
