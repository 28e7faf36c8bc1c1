"""What happened in one window of one shard: counts, visitors, revenue.

The totals travel as a window's state from one invocation to the next, so they stay exact when a
batch is tried again. (Only a crash between publishing them and the window's end publishes twice.)
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
from clickstream_contract.contract import CATEGORIES

from lambdas.stream.clicks import Click
from lambdas.stream.sessions import NOT_THE_VISITORS

NAMESPACE: Final = "Clickstream"
#: Visitors are counted by the bits they set: 8 KiB of state, an error below 1 % up to 100,000 of
#: them in a window. A shard takes 1,000 records a second. (Whang et al. 1990, linear counting.)
VISITOR_BITS: Final = 1 << 16
#: CloudWatch would make a metric, and a bill, of each type that somebody invents.
OTHER: Final = "other"


@dataclass
class Totals:
    """The totals of a window so far.

    Attributes:
        events: number of events by type; those that the contract does not name are `OTHER`.
        revenue: of purchases in the reporting currency, as the model counts it.
        rejected: number of records that are no events.
        visitors: a bitmap of VISITOR_BITS bits.
    """

    events: Counter[str] = field(default_factory=Counter)
    revenue: Decimal = Decimal(0)
    rejected: int = 0
    visitors: bytearray = field(default_factory=lambda: bytearray(VISITOR_BITS // 8))

    def add(self, click: Click | None, currency: str) -> None:
        """Count one record; `currency` is the reporting one."""
        if click is None:
            self.rejected += 1
            return
        self.events[click.type if click.type in CATEGORIES else OTHER] += 1
        if click.type in NOT_THE_VISITORS:
            return
        digest = hashlib.blake2b(click.visitor.encode(), digest_size=8).digest()
        bit = int.from_bytes(digest, "big") % VISITOR_BITS
        self.visitors[bit // 8] |= 1 << bit % 8
        if click.type == "purchase" and (click.event["currency"] or currency).upper() == currency:
            self.revenue += click.revenue

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
            Decimal(state["revenue"]),
            state["rejected"],
            bytearray(zlib.decompress(base64.b64decode(state["visitors"]))),
        )

    def to_state(self) -> dict[str, Any]:
        """The totals as JSON: at most some 12 KiB of the megabyte that a state may have."""
        return {
            "events": dict(self.events),
            "revenue": str(self.revenue),
            "rejected": self.rejected,
            "visitors": base64.b64encode(zlib.compress(self.visitors)).decode(),
        }

    def publish(self, ended_at: int, currency: str) -> None:
        """Write the window's metrics to the log, from where CloudWatch takes them.

        Shards hold different visitors, so their numbers add up (statistic Sum).

        Args:
            ended_at: the window's end, milliseconds since 1970.
            currency: the reporting one.
        """
        for kind, count in self.events.items():
            _metric("Events", count, ended_at, {"EventType": kind})
        _metric("Revenue", float(self.revenue), ended_at, {"Currency": currency})
        _metric("ActiveVisitors", self.visitor_count, ended_at)
        _metric("RejectedRecords", self.rejected, ended_at)


def _metric(name: str, value: float, at: int, dimensions: Mapping[str, str] | None = None) -> None:
    with single_metric(name, MetricUnit.NoUnit, value, namespace=NAMESPACE) as metric:
        for dimension, text in (dimensions or {}).items():
            metric.add_dimension(dimension, text)
        metric.set_timestamp(at)
