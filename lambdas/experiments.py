"""Which variant of an experiment somebody gets: the twin of `variant` in tracker/tracker.js."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

BUCKETS: Final = 10_000


def assign(experiment: str, identity: str, weights: Mapping[str, int]) -> str:
    """The variant that this identity gets, here and in the browser.

    The hash is 32-bit FNV-1a over the UTF-8 of ``experiment:identity`` with murmur3's finaliser
    behind it, since FNV alone spreads ids that differ in their last character badly. With
    bucket = hash % 10000 it is the first variant, in the order of `weights`, whose cumulative
    weight is greater than bucket * total // 10000.

    Args:
        experiment: its name; another one shares out the same people anew.
        identity: what stays the same for somebody: the anonymous_id.
        weights: whole numbers by variant, for example {"control": 1, "new": 1}.

    Raises:
        ValueError: where the browser would choose otherwise, or could not choose.
    """
    numbers = [name for name in weights if name.isdecimal()]
    if numbers:
        # JavaScript's objects sort such names to the front, so the order would differ.
        raise ValueError(f"variant {numbers[0]!r} of {experiment!r} needs a name with a letter")
    total = sum(weights.values())
    if min(weights.values(), default=0) < 0 or not 0 < total <= BUCKETS:
        raise ValueError(
            f"the weights of {experiment!r} must be 0 or more and sum to 1 to {BUCKETS}: "
            f"{dict(weights)}"
        )
    place = _hash(f"{experiment}:{identity}".encode()) % BUCKETS * total // BUCKETS
    for variant, weight in weights.items():
        place -= weight
        if place < 0:
            return variant
    raise AssertionError("place is smaller than the total")


def _hash(data: bytes) -> int:
    value = 0x811C9DC5
    for byte in data:
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    value = (value ^ value >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    value = (value ^ value >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return value ^ value >> 16
