"""The stream's two Lambda functions: one looks at each batch of records, one at the clock.

`on_records` is invoked by Kinesis in tumbling windows: it counts, keeps live sessions and puts key
events on the bus. Key events go out before the sessions they came from are kept, so a batch that is
tried again may tell one twice, and never loses one; who reacts does so once for each key.
`on_minute` is invoked by a schedule and tells what happens by nothing happening: a cart that nobody
came back to, and traffic that broke off.
"""

from __future__ import annotations

import functools
import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import boto3

from lambdas.stream import traffic
from lambdas.stream.clicks import Click, read_record
from lambdas.stream.sessions import KeyEvent, Limits, Session, abandoned, advance
from lambdas.stream.table import EXPIRY, LiveTable
from lambdas.stream.windows import Totals

SOURCE: Final = "clickstream"
ENTRIES_A_REQUEST: Final = 10
#: What a failure in the midst of a batch leaves done is not done again.
RECORDS_A_STEP: Final = 100
MINUTE: Final = timedelta(minutes=1)
log = logging.getLogger("stream")


def on_records(batch: dict[str, Any], context: object) -> dict[str, Any]:
    """Look at one batch of a window, or at the window's end.

    Returns:
        The window's state and, after an error, the first record that is not done: Lambda goes on
        from there. A record that is no event fails nothing.
    """
    totals, records = Totals.from_state(batch.get("state") or {}), batch["Records"]
    for start in range(0, len(records), RECORDS_A_STEP):
        step = records[start : start + RECORDS_A_STEP]
        clicks = [read_record(record) for record in step]
        try:
            _follow(filter(None, clicks))
        except Exception:
            if not start:
                raise
            log.exception("records from %d of %d on are not done", start, len(records))
            failed = {"itemIdentifier": step[0]["kinesis"]["sequenceNumber"]}
            return {"state": totals.to_state(), "batchItemFailures": [failed]}
        for click in clicks:
            totals.add(click, os.environ["CURRENCY"])
    if batch.get("isFinalInvokeForWindow"):
        _end_window(totals, batch["window"], batch["shardId"])
    return {"state": totals.to_state(), "batchItemFailures": []}


def on_minute(event: dict[str, Any], context: object) -> None:
    """Look at the last whole minute's traffic, and for abandoned carts.

    Raises:
        RuntimeError: some of it failed; all else was done, and the next minute looks again.
    """
    now = datetime.fromisoformat(event["time"])
    steps: list[Callable[[], None]] = [partial(_watch_traffic, now)]
    carts = _table().due(now.timestamp())
    steps += [
        partial(_tell_abandoned, carts[start : start + ENTRIES_A_REQUEST])
        for start in range(0, len(carts), ENTRIES_A_REQUEST)
    ]
    failed = 0
    for step in steps:
        try:
            step()
        except Exception:
            log.exception("a part of this minute's work failed")
            failed += 1
    if failed:
        raise RuntimeError(f"{failed} of {len(steps)} parts of this minute's work failed")


def _follow(clicks: Iterable[Click]) -> None:
    by_visitor: dict[str, list[Click]] = {}
    for click in clicks:
        by_visitor.setdefault(click.visitor, []).append(click)
    before = _table().sessions(by_visitor)
    after: list[Session] = []
    found: list[KeyEvent] = []
    for visitor, theirs in by_visitor.items():
        session, events = advance(before.get(visitor), theirs, _limits())
        found += events
        if session and session != before.get(visitor):
            after.append(session)
    _tell(found)
    _table().keep(after, _limits().cart_abandoned_after)


def _tell_abandoned(carts: Sequence[Session]) -> None:
    _tell([abandoned(session) for session in carts])
    for session in carts:
        _table().stop_watching(session)


def _end_window(totals: Totals, window: dict[str, str], shard: str) -> None:
    start, end = (datetime.fromisoformat(window[name]) for name in ("start", "end"))
    _table().count_minute(
        _minute(start),
        f"{shard}/{window['start']}",
        totals.events.total(),
        int((end + EXPIRY).timestamp()),
    )
    totals.publish(int(end.timestamp() * 1000), os.environ["CURRENCY"])


def _watch_traffic(now: datetime) -> None:
    # A window's last invocation may come two minutes after its end; what is not there counts as
    # no traffic.
    last = now - 3 * MINUTE
    minutes = [_minute(last - n * MINUTE) for n in range(traffic.AVERAGE_MINUTES, -1, -1)]
    counts = _table().minutes(minutes)
    found = traffic.level(counts)
    if found is None:
        return
    level, average = found
    if level == (_table().traffic_level() or traffic.NORMAL):
        return
    detail = {"level": level, "minute": minutes[-1], "events": counts[-1], "average": average}
    _tell([KeyEvent("traffic_changed", f"traffic/{level}/{minutes[-1]}", detail)])
    _table().keep_traffic_level(level)


def _minute(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")


def _tell(events: Sequence[KeyEvent]) -> None:
    """Put the events on the bus; raises if it does not take all of them."""
    entries = [
        {
            "Source": SOURCE,
            "DetailType": event.kind,
            "Detail": json.dumps({"key": event.key, **event.detail}),
            "EventBusName": os.environ["EVENT_BUS"],
        }
        for event in events
    ]
    for start in range(0, len(entries), ENTRIES_A_REQUEST):
        some = entries[start : start + ENTRIES_A_REQUEST]
        answer = _bus().put_events(Entries=some)
        if answer["FailedEntryCount"]:
            reasons = {entry["ErrorCode"] for entry in answer["Entries"] if "ErrorCode" in entry}
            raise RuntimeError(
                f"the bus did not take {answer['FailedEntryCount']} of {len(some)} key events: "
                f"{', '.join(sorted(reasons))}"
            )


@functools.cache
def _limits() -> Limits:
    return Limits(
        timedelta(seconds=int(os.environ["CART_ABANDONED_SECONDS"])),
        timedelta(seconds=int(os.environ["LONG_SESSION_SECONDS"])),
    )


@functools.cache
def _table() -> LiveTable:
    return LiveTable(boto3.resource("dynamodb"), os.environ["LIVE_TABLE"])


@functools.cache
def _bus() -> Any:
    return boto3.client("events")
