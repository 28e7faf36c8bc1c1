"""MiniStack's Kinesis with its records on disk.

MiniStack keeps a shard's records in a list: every save of its state copies all of them, every put
scans them for expired ones, and a kill or a reshard loses them. Here they are a file that is
appended to before PutRecords answers, so an acknowledged record survives a kill, and closed shards
stay readable. Records past the retention are dropped when the process starts.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

Record = dict[str, Any]
#: The member of a shard that only a closed one has.
CLOSED = "ending_sequence_number"
#: While it is held, a stream's shards are whole: a reshard takes some away for a moment.
_resharding = threading.Lock()


class Records(Sequence[Record]):
    """A shard's records: one JSON line each in a file, only their offsets in memory."""

    def __init__(self, path: Path, oldest: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._ends = array("Q", [0])
        with path.open("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    self._ends.append(self._ends[-1] + len(line))
        os.truncate(path, self._ends[-1])  # the line a kill cut off
        del self._ends[: first_at(self, oldest)]

    def append(self, record: Record) -> None:
        """Write the record; it survives a kill when this returns."""
        line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
        os.write(self._file, line)
        self._ends.append(self._ends[-1] + len(line))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int):
            index = range(len(self))[index]
            return self[index : index + 1][0]
        start, stop, _ = index.indices(len(self))
        if start >= stop:
            return []
        size = self._ends[stop] - self._ends[start]
        return [
            orjson.loads(line)
            for line in os.pread(self._file, size, self._ends[start]).split(b"\n")[:-1]
        ]

    def __deepcopy__(self, memo: object) -> list[Record]:
        return []  # MiniStack copies what it saves: the records are saved already

    def __del__(self) -> None:
        os.close(self._file)


def install(folder: Path) -> None:
    """Put the records of MiniStack's Kinesis under `folder`. Call it before MiniStack starts."""
    from ministack.services import kinesis

    load, delete = kinesis.load_persisted_state, kinesis._delete_stream
    describe_shard = kinesis._shard_out

    def stream_folder(stream: dict[str, Any]) -> Path:
        region, account = stream["StreamARN"].split(":")[3:5]
        return folder / account / region / f"{quote(stream['StreamName'], safe='')}.stream"

    def keep_on_disk(stream: dict[str, Any], id: str, shard: dict[str, Any]) -> None:
        if not isinstance(shard["records"], Records):
            # The sequence number tells a stream from an earlier one of the same name.
            path = stream_folder(stream) / f"{id}_{shard['starting_sequence_number']}.jsonl"
            oldest = time.time() - stream["RetentionPeriodHours"] * 3600
            shard["records"] = Records(path, oldest)

    def load_persisted_state(data: Any) -> None:
        load(data)
        for _, stream in kinesis._streams.all_items():
            for id, shard in stream["shards"].items():
                keep_on_disk(stream, id, shard)

    def route_to_shard(hash_key: int, stream: dict[str, Any]) -> str:
        for id, shard in stream["shards"].items():
            ends = int(shard["starting_hash_key"]), int(shard["ending_hash_key"])
            if CLOSED not in shard and ends[0] <= hash_key <= ends[1]:
                keep_on_disk(stream, id, shard)
                return id
        raise ValueError(f"no open shard of {stream['StreamName']} takes the hash key {hash_key}")

    def delete_stream(data: Any) -> Any:
        _, stream = kinesis._resolve_stream(data)
        if stream:
            shutil.rmtree(stream_folder(stream), ignore_errors=True)
        return delete(data)

    def shard_out(id: str, shard: dict[str, Any]) -> dict[str, Any]:
        answer = describe_shard(id, shard)
        if CLOSED in shard:
            answer["SequenceNumberRange"]["EndingSequenceNumber"] = shard[CLOSED]
        return answer

    @contextlib.contextmanager
    def open_shards(data: Any) -> Iterator[None]:
        """MiniStack sees the open shards only; those it takes away become closed ones."""
        _, stream = kinesis._resolve_stream(data)
        if not stream:
            yield
            return
        before = stream["shards"]
        stream["shards"] = {id: shard for id, shard in before.items() if CLOSED not in shard}
        yield
        after = stream["shards"]
        if any(id in before and shard is not before[id] for id, shard in after.items()):
            first = max(int(id.rpartition("-")[2]) for id in before) + 1  # ids are never reused
            after = {f"shardId-{first + n:012}": shard for n, shard in enumerate(after.values())}
        ending = {CLOSED: kinesis._next_sequence_number()}
        gone = {id: ending | shard for id, shard in before.items() if id not in after}
        stream["shards"] = gone | after

    def on_open_shards(action: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def answer(data: Any) -> Any:
            with _resharding, open_shards(data):
                return action(data)

        return answer

    for name in ("split_shard", "merge_shards", "update_shard_count", "describe_stream_summary"):
        setattr(kinesis, f"_{name}", on_open_shards(getattr(kinesis, f"_{name}")))
    kinesis.load_persisted_state = load_persisted_state
    kinesis._route_to_shard = route_to_shard
    kinesis._delete_stream = delete_stream
    kinesis._shard_out = shard_out
    kinesis._start_position = _start_position
    kinesis._expire_records = lambda stream: None


def shards(stream: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The shards of MiniStack's `stream` by their ids, for a thread that is not MiniStack's own."""
    with _resharding:
        return dict(stream["shards"])


def first_after(records: Sequence[Record], sequence: str) -> int:
    """The place of the first record behind that sequence number, without reading every record."""
    return bisect_right(records, sequence, key=_sequence)


def first_at(records: Sequence[Record], time: float) -> int:
    """The place of the first record put at that time or later, without reading every record."""
    return bisect_left(records, time, key=arrival)


def _start_position(
    records: Sequence[Record], kind: str, sequence: str, time: object
) -> int | None:
    """MiniStack's function of this name, without reading every record."""
    match kind:
        case "TRIM_HORIZON":
            return 0
        case "LATEST":
            return len(records)
        case "AT_SEQUENCE_NUMBER":
            return bisect_left(records, sequence, key=_sequence)
        case "AFTER_SEQUENCE_NUMBER":
            return first_after(records, sequence)
        case "AT_TIMESTAMP":
            return first_at(records, float(str(time)))
    return None


def arrival(record: Record) -> float:
    """When the record was put, in epoch seconds."""
    return record["ApproximateArrivalTimestamp"]


def _sequence(record: Record) -> str:
    return record["SequenceNumber"]
