"""A record of the stream as what the live path looks at."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from clickstream_contract.event import read_event
from clickstream_contract.json_lines import Rejected

#: Sequence numbers are whole numbers of up to 56 digits; filled up, they sort as text.
SEQUENCE_DIGITS: Final = 60
#: The contract sets a text no limit. What is kept and told here has one: of DynamoDB's 400 KB of a
#: row and EventBridge's 256 KB of an event, nobody's long page may cost the whole batch.
LONGEST_TEXT: Final = 500


@dataclass(frozen=True, slots=True)
class Click:
    """One event of the stream.

    Attributes:
        visitor: its partition key: all events of one are in one shard, in order.
        sequence: its place in the stream, as text that sorts.
        arrived_at: when Kinesis took it, seconds since 1970.
        event: its columns (see contract.EVENT_SCHEMA), event_timestamp in microseconds since 1970,
            texts cut to LONGEST_TEXT characters.
    """

    visitor: str
    sequence: str
    arrived_at: float
    event: dict[str, Any]

    @property
    def type(self) -> str:
        """The event's type."""
        return self.event["event_type"]

    @property
    def at(self) -> int:
        """When it happened, in milliseconds since 1970."""
        return self.event["event_timestamp"] // 1000

    @property
    def revenue(self) -> Decimal:
        """Price times quantity of a purchase; nothing for other types."""
        price, quantity = self.event["price"], self.event["quantity"]
        if self.type != "purchase" or price is None:
            return Decimal(0)
        return price * (1 if quantity is None else quantity)


def read_record(record: Mapping[str, Any]) -> Click | None:
    """The event of one record, or None for what is none: the clean job quarantines that."""
    sent = record["kinesis"]
    arrived_at = float(sent["approximateArrivalTimestamp"])
    line = base64.b64decode(sent["data"]).rstrip(b"\r\n")
    try:
        event = read_event(line, int(arrived_at * 1_000_000))
    except Rejected:
        return None
    event = {
        name: value[:LONGEST_TEXT] if isinstance(value, str) else value
        for name, value in event.items()
    }
    sequence = sent["sequenceNumber"].zfill(SEQUENCE_DIGITS)
    return Click(sent["partitionKey"], sequence, arrived_at, event)
