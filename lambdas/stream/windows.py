"""What happened in one window of one shard: counts, visitors, revenue.

The totals travel as a window's state from one invocation to the next, so they are exact however
often a batch is tried again.
"""

from __future__ import annotations

import base64
import hashlib
import math
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from aws_lambda_powertools.metrics import MetricUnit, single_metric

from lambdas.stream.clicks import Click

NAMESPACE: Final = "Clickstream"
#: Visitors are counted by the bits they set: 8 KiB of state, an error below 1 % up to 100,000 of
#: them in a window. A shard takes 1,000 records a second. (Whang et al. 1990, linear counting.)
VISITOR_BITS: Final = 1 << 16
#: CloudWatch would make a metric of each type somebody invents.
MOST_TYPES: Final = 50
OTHER: Final = "other"


@dataclass
class Totals:
    """The totals of a window so far.

    Attributes:
        events: number of events by type.
        revenue: of purchases, by currency ("" where none was sent).
        rejected: number of records that are no events.
        visitors: a bitmap of VISITOR_BITS bits.
    """

    events: Counter[str] = field(default_factory=Counter)
    revenue: dict[str, Decimal] = field(default_factory=dict)
    rejected: int = 0
    visitors: bytearray = field(default_factory=lambda: bytearray(VISITOR_BITS // 8))

    def add(self, click: Click | None) -> None:
        """Count one record."""
        if click is None:
            self.rejected += 1
            return
        kind = click.type if click.type in self.events or len(self.events) < MOST_TYPES else OTHER
        self.events[kind] += 1
        digest = hashlib.blake2b(click.visitor.encode(), digest_size=8).digest()
        bit = int.from_bytes(digest, "big") % VISITOR_BITS
        self.visitors[bit // 8] |= 1 << bit % 8
        if click.type == "purchase":
            currency = (click.event["currency"] or "")[:3].upper()
            self.revenue[currency] = self.revenue.get(currency, Decimal(0)) + click.revenue

    @property
    def visitor_count(self) -> int:
        """How many visitors there were, estimated from the bits that stayed clear."""
        clear = VISITOR_BITS - int.from_bytes(self.visitors, "big").bit_count()
        return round(-VISITOR_BITS * math.log(max(clear, 1) / VISITOR_BITS))

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Totals:
        """The totals that an earlier invocation of this window returned; {} begins a window."""
        if not state:
            return cls()
        return cls(
            Counter(state["events"]),
            {currency: Decimal(amount) for currency, amount in state["revenue"].items()},
            state["rejected"],
            bytearray(zlib.decompress(base64.b64decode(state["visitors"]))),
        )

    def to_state(self) -> dict[str, Any]:
        """The totals as JSON, some KiB at most of the megabyte that a state may have."""
        return {
            "events": dict(self.events),
            "revenue": {currency: str(amount) for currency, amount in self.revenue.items()},
            "rejected": self.rejected,
            "visitors": base64.b64encode(zlib.compress(self.visitors)).decode(),
        }

    def publish(self, ended_at: int) -> None:
        """Write the window's metrics to the log, from where CloudWatch takes them.

        Shards hold different visitors, so their numbers add up (statistic Sum).

        Args:
            ended_at: the window's end, milliseconds since 1970.
        """
        for kind, count in self.events.items():
            _metric("Events", count, ended_at, {"EventType": kind})
        for currency, amount in self.revenue.items():
            _metric("Revenue", float(amount), ended_at, {"Currency": currency or "none"})
        _metric("ActiveVisitors", self.visitor_count, ended_at)
        _metric("RejectedRecords", self.rejected, ended_at)


def _metric(name: str, value: float, at: int, dimensions: Mapping[str, str] | None = None) -> None:
    with single_metric(name, MetricUnit.NoUnit, value, namespace=NAMESPACE) as metric:
        for dimension, text in (dimensions or {}).items():
            metric.add_dimension(dimension, text)
        metric.set_timestamp(at)
