"""Raw lines to typed events: every line leaves with its columns, or with a reason.

`event.read_event` is plain Python, one line in, one event out; `read_events` runs it over a
DataFrame in Arrow batches. Spark's own JSON reader is neither strict enough nor faster: see
docs/adr/0006.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Final

import pyarrow as pa
from clickstream_contract import contract as c
from clickstream_contract.event import Agent, read_event
from clickstream_contract.json_lines import Rejected
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from ua_parser import parse

from clickstream_glue.tombstones import ERASED_LINE, Tombstones, salvage

ERASED: Final = "ERASED"
MOST_AGENTS: Final = 10_000
MAX_AGENT_LENGTH: Final = 1000
NO_EVENT: Final = (None,) * len(c.EVENT_COLUMNS)
NOTHING_KEPT: Final = (*NO_EVENT, ERASED, None, None)


class Agents(dict[str, Agent]):
    """User agents, read once each: few of them send many events, and to read one takes 0.2 ms."""

    def __missing__(self, text: str) -> Agent:
        """Looks at an agent for the first time."""
        if len(self) == MOST_AGENTS:
            self.clear()
        self[text] = _read_agent(text)
        return self[text]


def _read_agent(agent: str) -> Agent:
    # An agent has some 200 characters; a megabyte of text would keep the expressions busy.
    found = parse(agent[:MAX_AGENT_LENGTH])
    browser, os, device = (
        part.family if part else None for part in (found.user_agent, found.os, found.device)
    )
    text = agent.lower()
    device_type = "desktop" if text else None
    if "ipad" in text or "tablet" in text:
        device_type = "tablet"
    elif "mobi" in text or "android" in text:
        device_type = "mobile"
    is_bot = device == "Spider" or any(mark in text for mark in c.BOT_MARKS)
    return Agent(is_bot, device_type, browser, os, device)


AGENTS: Final = Agents()
NOBODY: Final = Tombstones()


def read_events(
    lines: DataFrame, max_line_bytes: int = c.MAX_LINE_BYTES, erased: Tombstones = NOBODY
) -> DataFrame:
    """One row per line: the event's columns, or why it is none.

    Args:
        lines: line binary, arrived_at, source_object, source_line, and reason and detail of lines
            already known to be damaged (see raw_lines).
        max_line_bytes: longer lines are not parsed.
        erased: whose lines nothing is kept of.

    Returns:
        EVENT_SCHEMA, REJECT_SCHEMA (raw_bytes of rejected lines only) and ARRIVAL_SCHEMA of the
        contract, and payload_hash. Blank lines have the reason BLANK, lines of erased persons the
        reason ERASED.
    """
    schema = f"{c.EVENT_SCHEMA}, {c.REJECT_SCHEMA}, {c.ARRIVAL_SCHEMA}"
    arrow_schema = to_arrow_schema(lines.mapInArrow(lambda batches: batches, schema).schema)

    def read_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            arrivals = batch["arrived_at"].cast(pa.int64())
            sent = (batch["line"], batch["reason"], batch["detail"], arrivals)
            rows = map(
                partial(to_columns, max_line_bytes=max_line_bytes, erased=erased),
                *(column.to_pylist() for column in sent),
            )
            columns = list(map(pa.array, zip(*rows, strict=True), arrow_schema.types))
            columns += (batch[name] for name in c.ARRIVAL_ORDER)
            yield pa.RecordBatch.from_arrays(columns, schema=arrow_schema)

    # xxhash64 skips nulls, so that (null, "a") would equal ("a", null) without the flags.
    payload_hash = F.xxhash64(
        *c.PAYLOAD,
        F.sort_array(F.map_entries("metadata")),
        *(F.col(name).isNull() for name in c.PAYLOAD),
    )
    return lines.mapInArrow(read_batches, schema).withColumn("payload_hash", payload_hash)


def to_columns(
    line: bytes,
    reason: str | None,
    detail: str | None,
    arrived_at: int,
    max_line_bytes: int = c.MAX_LINE_BYTES,
    erased: Tombstones = NOBODY,
) -> tuple[Any, ...]:
    """The columns of EVENT_SCHEMA and REJECT_SCHEMA; a `reason` already known stands."""
    if line == ERASED_LINE:
        return NOTHING_KEPT
    try:
        if reason:
            raise Rejected(reason, detail)
        event = read_event(line, arrived_at, max_line_bytes, AGENTS.__getitem__)
    except Rejected as error:
        if erased and erased.stand_in(salvage(line) if reason == "GZIP_CORRUPT" else line):
            return NOTHING_KEPT
        return *NO_EVENT, error.reason, error.detail and error.detail[:1000], line
    if erased and erased.cover(event["user_id"], event["anonymous_id"]):
        return NOTHING_KEPT
    return *event.values(), None, None, None
