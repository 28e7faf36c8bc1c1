"""The live table in DynamoDB: sessions, minutes and the traffic's level; rows expire in a day."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from datetime import timedelta
from decimal import Decimal
from itertools import islice
from typing import Any, Final

from botocore.exceptions import ClientError

from lambdas.stream.sessions import Session

EXPIRY: Final = timedelta(days=1)
#: Carts to look at lie in one index; in several places of it, since a single one takes no more
#: than 1,000 writes a second.
WATCH_PLACES: Final = 8
WATCH_INDEX: Final = "watch"
KEYS_A_READ: Final = 100
WRITERS: Final = 8
_SESSION_FIELDS: Final = [each.name for each in fields(Session)]


class LiveTable:
    """The table by its boto3 resource.

    Rows: ``visitor/<key>`` a session, ``minute/<ISO>`` the events that arrived in a minute,
    ``traffic`` how the traffic was when it was last told.
    """

    def __init__(self, dynamodb: Any, name: str) -> None:
        self._dynamodb, self._table = dynamodb, dynamodb.Table(name)

    def sessions(self, visitors: Collection[str]) -> dict[str, Session]:
        """The sessions of these visitors, for those who have one."""
        rows = self._read([f"visitor/{visitor}" for visitor in visitors])
        found = (_session(row) for row in rows)
        return {session.visitor: session for session in found}

    def keep(self, sessions: Iterable[Session], cart_abandoned_after: timedelta) -> None:
        """Keep the sessions, each unless a later one of its visitor is kept already."""

        def put(session: Session) -> None:
            row: dict[str, Any] = {
                **asdict(session),
                "id": f"visitor/{session.visitor}",
                "seen_at": Decimal(str(session.seen_at)),
                "expires_at": int(session.seen_at + EXPIRY.total_seconds()),
            }
            if session.cart:
                row["watch"] = _place(session.visitor)
                row["due_at"] = int(session.seen_at + cart_abandoned_after.total_seconds())
            _if_true(
                self._table.put_item,
                Item=row,
                ConditionExpression="attribute_not_exists(id) OR #sequence < :sequence",
                ExpressionAttributeNames={"#sequence": "sequence"},
                ExpressionAttributeValues={":sequence": session.sequence},
            )

        with ThreadPoolExecutor(WRITERS) as writers:
            for _ in writers.map(put, sessions):
                pass

    def due(self, now: float) -> list[Session]:
        """The sessions whose cart has waited long enough, up to a megabyte of each place."""
        found = []
        for place in range(WATCH_PLACES):
            answer = self._table.query(
                IndexName=WATCH_INDEX,
                KeyConditionExpression="watch = :place AND due_at <= :now",
                ExpressionAttributeValues={":place": str(place), ":now": int(now)},
            )
            found += [_session(row) for row in answer["Items"]]
        return found

    def stop_watching(self, session: Session) -> None:
        """Look no more at the session's cart, unless its visitor has come back."""
        _if_true(
            self._table.update_item,
            Key={"id": f"visitor/{session.visitor}"},
            UpdateExpression="REMOVE watch, due_at",
            ConditionExpression="#sequence = :sequence",
            ExpressionAttributeNames={"#sequence": "sequence"},
            ExpressionAttributeValues={":sequence": session.sequence},
        )

    def count_minute(self, minute: str, shard: str, events: int, expires_at: int) -> None:
        """Add one shard's events of a minute, once however often it is told."""
        _if_true(
            self._table.update_item,
            Key={"id": f"minute/{minute}"},
            UpdateExpression="ADD events :events, shards :shards SET expires_at = :expires_at",
            ConditionExpression="NOT contains(shards, :shard)",
            ExpressionAttributeValues={
                ":events": events,
                ":shards": {shard},
                ":shard": shard,
                ":expires_at": expires_at,
            },
        )

    def minutes(self, minutes: Sequence[str]) -> list[int]:
        """The events of each of these minutes, nothing counted as none."""
        rows = self._read([f"minute/{minute}" for minute in minutes])
        counts = {row["id"]: int(row["events"]) for row in rows}
        return [counts.get(f"minute/{minute}", 0) for minute in minutes]

    def traffic_level(self) -> str | None:
        """The level that was last told."""
        return self._table.get_item(Key={"id": "traffic"}).get("Item", {}).get("level")

    def keep_traffic_level(self, level: str) -> None:
        """Remember the level that was told."""
        self._table.put_item(Item={"id": "traffic", "level": level})

    def _read(self, ids: Iterable[str]) -> list[dict[str, Any]]:
        rows, name, left = [], self._table.name, iter(ids)
        while keys := [{"id": id} for id in islice(left, KEYS_A_READ)]:
            while keys:
                answer = self._dynamodb.batch_get_item(
                    RequestItems={name: {"Keys": keys, "ConsistentRead": True}}
                )
                rows += answer["Responses"].get(name, [])
                keys = answer.get("UnprocessedKeys", {}).get(name, {}).get("Keys", [])
        return rows


def _session(row: dict[str, Any]) -> Session:
    values = {name: row[name] for name in _SESSION_FIELDS}
    for name in ("started_at", "last_at", "event_count"):
        values[name] = int(values[name])
    values["seen_at"] = float(values["seen_at"])
    values["cart"] = {product: int(number) for product, number in values["cart"].items()}
    return Session(**values)


def _place(visitor: str) -> str:
    return str(zlib.crc32(visitor.encode()) % WATCH_PLACES)


def _if_true(write: Any, **request: Any) -> None:
    try:
        write(**request)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
