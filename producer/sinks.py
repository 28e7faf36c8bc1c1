"""Where lines go: a file, standard output, a Firehose stream or a Kinesis stream.

A stream gets batches at AWS's limits from a few lanes, one thread each. An identity always takes
the same lane, and a lane sends its next batch only when the one before is settled: accepted or
spooled. So the lines of one identity arrive in order, except those that AWS refused and that were
therefore sent again later. Delivery is at least once: when an answer is lost, the batch is resent.
"""

from __future__ import annotations

import gzip
import itertools
import os
import random
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO, Protocol

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
)

from producer.journeys import Event
from producer.spool import OVERHEAD_BYTES, Record, Spool, Trouble

MAX_IN_FLIGHT = 32
KIB, MIB = 2**10, 2**20
#: A batch that is not full leaves after this time.
LINGER_SECONDS = 1.0
BACKOFF_BASE_SECONDS, BACKOFF_CAP_SECONDS = 0.1, 10.0
#: While a stream is down, lines go to the spool and one batch in this time tries the stream.
PROBE_SECONDS = 2.0
#: After a signal, requests in flight may take this long before their records are spooled.
GRACE_SECONDS = 5.0

_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_THROTTLED = {
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "KMSThrottlingException",
    "RequestLimitExceeded",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}


class Sink(Protocol):
    """Takes lines; ``counts`` says what became of them."""

    counts: Counter[str]

    def send(self, events: Sequence[Event]) -> None:
        """Take the lines; returns when there is room for more."""

    def tick(self) -> None:
        """Called while there is nothing to send."""

    def close(self) -> None:
        """Deliver or spool everything taken so far."""


class FileSink:
    """One file, gzipped when its name ends in .gz, or standard output."""

    def __init__(self, path: Path | None) -> None:
        self.counts: Counter[str] = Counter()
        self._path = path
        try:
            self._file: BinaryIO = open(path, "wb") if path else sys.stdout.buffer  # noqa: SIM115
        except OSError as error:
            raise Trouble(f"{path} cannot be written: {error.strerror}") from None
        # No name and no time in the header: the same lines make the same bytes.
        self._lines: Any = self._file
        if path and path.suffix == ".gz":
            self._lines = gzip.GzipFile("", "wb", compresslevel=1, fileobj=self._file, mtime=0)

    def send(self, events: Sequence[Event]) -> None:
        """Write the lines."""
        self._guard(lambda: self._lines.write(b"".join([event.line for event in events])))
        self.counts["sent"] += len(events)

    def tick(self) -> None:
        """Let a reader see what is written; a gzip flush would make other bytes."""
        if self._lines is self._file:
            self._guard(self._file.flush)

    def close(self) -> None:
        """Write everything to the disk."""
        if self._lines is not self._file:
            self._guard(self._lines.close)
        self._guard(self._file.flush)
        if self._path:
            self._guard(self._file.close)

    def _guard(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            if isinstance(error, BrokenPipeError):  # else Python complains once more at its exit
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._file.fileno())
            raise Trouble(f"{self._path or 'standard output'}: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class Api:
    """What differs between the two services."""

    name: str
    max_batch_bytes: int
    max_record_bytes: int
    describe: Callable[[Any, str], object]
    #: Puts one batch; returns an error code, or None, for each record.
    put: Callable[[Any, str, Sequence[Record]], list[str | None]]


def _put_firehose(client: Any, stream: str, records: Sequence[Record]) -> list[str | None]:
    answer = client.put_record_batch(
        DeliveryStreamName=stream, Records=[{"Data": record.data} for record in records]
    )
    return [entry.get("ErrorCode") for entry in answer["RequestResponses"]]


def _put_kinesis(client: Any, stream: str, records: Sequence[Record]) -> list[str | None]:
    answer = client.put_records(
        StreamName=stream,
        Records=[{"Data": record.data, "PartitionKey": record.key} for record in records],
    )
    return [entry.get("ErrorCode") for entry in answer["Records"]]


MAX_BATCH_RECORDS = 500
MAX_KEY_BYTES = 256
APIS = {
    "firehose": Api(
        "firehose",
        4 * MIB,
        1000 * KIB,
        lambda client, stream: client.describe_delivery_stream(DeliveryStreamName=stream),
        _put_firehose,
    ),
    # Newer limits are 10 MiB a request and, for a stream that is set so, 10 MiB a record; these
    # are what every stream takes. The partition key counts.
    "kinesis": Api(
        "kinesis",
        5 * MIB,
        1 * MIB - MAX_KEY_BYTES,
        lambda client, stream: client.describe_stream_summary(StreamName=stream),
        _put_kinesis,
    ),
}


def make_client(service: str, endpoint_url: str | None) -> Any:
    """A client with freshly read credentials; retrying is our work, not botocore's."""
    import boto3
    from botocore.config import Config

    config = Config(
        retries={"total_max_attempts": 1},
        connect_timeout=5,
        read_timeout=30,
        max_pool_connections=MAX_IN_FLIGHT,
        parameter_validation=False,
    )
    try:
        return boto3.Session(region_name=os.environ.get("AWS_REGION")).client(
            service,  # type: ignore[call-overload]
            endpoint_url=endpoint_url,
            config=config,
        )
    except (BotoCoreError, ValueError) as error:
        raise Trouble(f"no client for {service}: {error}") from None


@dataclass(slots=True)
class _Batch:
    number: int
    records: list[Record]
    is_drained: bool
    is_claimed: bool = False


@dataclass(slots=True)
class _Lane:
    queue: SimpleQueue[_Batch | None] = field(default_factory=SimpleQueue)
    records: list[Record] = field(default_factory=list)
    size: int = 0
    since: float = 0.0


class StreamSink:
    """A Firehose or Kinesis stream with a spool behind it."""

    def __init__(
        self,
        api: Api,
        stream: str,
        new_client: Callable[[], Any],
        spool: Spool,
        stop: threading.Event,
        in_flight: int = 4,
        patience: float = 120.0,
    ) -> None:
        """Connect; fails with one sentence when there is no such stream.

        Args:
            api: which service.
            stream: the stream's name.
            new_client: makes a boto3 client; called again when the credentials have expired.
            spool: keeps what cannot be sent.
            stop: set by a signal: send or spool what is in flight, take nothing more.
            in_flight: number of lanes.
            patience: seconds for which a batch is sent again before it is spooled.
        """
        self._api, self._stream, self._new_client = api, stream, new_client
        self._spool, self._stop, self._patience = spool, stop, patience
        self.counts: Counter[str] = Counter()
        self._trouble: Trouble | None = None
        self._is_draining = False
        self._left_over: list[Record] = []
        self._is_down, self._probe_at, self._grace_ends = False, 0.0, 0.0
        self._unsettled: dict[int, _Batch] = {}  # handed to a lane
        self._held_bytes = 0  # of records taken and not settled, as the spool would count them
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._client = new_client()
        self._require_stream()
        self._lanes = [_Lane() for _ in range(in_flight)]
        for lane in self._lanes:
            threading.Thread(target=self._run_lane, args=(lane,), daemon=True).start()

    def drain(self) -> None:
        """Send what earlier runs left in the spool, oldest first, while the stream takes it."""
        self._is_draining = True
        self._spool.seal()
        for segment in self._spool.segments():
            for record in self._spool.read(segment):
                self._take(record)
            self._settle_all()
            if self._left_over:
                self._spool.append(self._left_over)
            self._spool.remove(segment)
            if self._left_over or self._stop.is_set():
                break
        self._is_draining = False
        if self._trouble:
            raise self._trouble

    def send(self, events: Sequence[Event]) -> None:
        """Take the lines, all or none; blocks while enough batches are in flight."""
        if self._trouble:
            raise self._trouble
        records = [Record(event.identity, event.line) for event in events]
        self._require_room(_held(records))
        for record in records:
            self._take(record)
        self.tick()

    def tick(self) -> None:
        """Send what has waited long enough for its batch to fill."""
        now = time.monotonic()
        for lane in self._lanes:
            if lane.records and now - lane.since >= LINGER_SECONDS:
                self._submit(lane)

    def close(self) -> None:
        """Return when every line is accepted or spooled; raises what stopped the lanes."""
        self._settle_all()
        for lane in self._lanes:
            lane.queue.put(None)
        if self._trouble:
            raise self._trouble

    # -- the caller's side

    def _require_stream(self) -> None:
        endpoint = self._client.meta.endpoint_url
        try:
            self._api.describe(self._client, self._stream)
        except ConnectionError:
            raise Trouble(
                f"nothing answers on {endpoint}; start the embedded AWS (make up) or name "
                "another address with --endpoint-url"
            ) from None
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                raise Trouble(
                    f"there is no {self._api.name} stream {self._stream!r} on {endpoint}"
                ) from None
            # Not every producer may describe its stream; sending will tell.
        except HTTPClientError:
            pass
        except BotoCoreError as error:
            raise Trouble(f"{endpoint} cannot be used: {error}") from None

    def _require_room(self, wanted: int) -> None:
        def fits() -> bool:
            return self._spool.size + self._held_bytes + wanted <= self._spool.limit

        if not fits():
            self._flush()
            self._wait(lambda: fits() or not self._unsettled)
            if not fits():
                raise Trouble(
                    f"the spool {self._spool.folder} is full "
                    f"({self._spool.size:,} of {self._spool.limit:,} bytes)"
                )

    def _take(self, record: Record) -> None:
        if len(record.data) > self._api.max_record_bytes:
            try:
                self._spool.set_aside(record)
                self._count("oversize", 1)
            except OSError as error:
                self._give_up(1, error)
            return
        size = len(record.data) + len(record.key)
        lane = self._lanes[zlib.crc32(record.key.encode()) % len(self._lanes)]
        if lane.size + size > self._api.max_batch_bytes:
            self._submit(lane)
        if not lane.records:
            lane.since = time.monotonic()
        lane.records.append(record)
        lane.size += size
        with self._changed:
            self._held_bytes += size + OVERHEAD_BYTES
        if len(lane.records) == MAX_BATCH_RECORDS:
            self._submit(lane)

    def _submit(self, lane: _Lane) -> None:
        self._wait(lambda: self._stop.is_set() or len(self._unsettled) < 2 * len(self._lanes))
        batch = _Batch(next(self._numbers), lane.records, self._is_draining)
        lane.records, lane.size = [], 0
        with self._changed:
            self._unsettled[batch.number] = batch
        lane.queue.put(batch)

    def _flush(self) -> None:
        for lane in self._lanes:
            if lane.records:
                self._submit(lane)

    def _settle_all(self) -> None:
        self._flush()
        if not self._wait(lambda: not self._unsettled):
            for batch in list(self._unsettled.values()):  # their lanes hang in a request
                self._settle(batch)

    def _wait(self, condition: Callable[[], bool]) -> bool:
        """Wait for the condition; false when a signal came and its grace is over."""
        with self._changed:
            while not condition():
                if self._stop.is_set():
                    self._grace_ends = self._grace_ends or time.monotonic() + GRACE_SECONDS
                    if time.monotonic() >= self._grace_ends:
                        return False
                self._changed.wait(0.1)
        return True

    # -- the lanes' side

    def _run_lane(self, lane: _Lane) -> None:
        while (batch := lane.queue.get()) is not None:
            try:
                self._deliver(batch)
            except Trouble as trouble:
                self._trouble = trouble
            except Exception as error:  # a lane that dies would hold its lines for ever
                self._trouble = Trouble(f"{self._api.name} {self._stream}: {error}")
            self._settle(batch)

    def _deliver(self, batch: _Batch) -> None:
        """Send the batch until nothing of it is left, or patience is."""
        give_up_at = time.monotonic() + self._patience
        for attempt in itertools.count():
            if self._trouble or (self._is_down and time.monotonic() < self._probe_at):
                return
            if attempt:
                self._count("resent", len(batch.records))
            client, refused = self._client, batch.records
            try:
                codes = self._api.put(client, self._stream, batch.records)
                refused = [
                    record for record, code in zip(batch.records, codes, strict=True) if code
                ]
            except ClientError as error:
                self._answer_to(error, client)
            except (HTTPClientError, ConnectionError):
                pass
            if not self._accept(batch, refused) or not refused:
                return
            pause = random.uniform(0, min(BACKOFF_CAP_SECONDS, BACKOFF_BASE_SECONDS * 2**attempt))
            if self._is_down or time.monotonic() + pause > give_up_at:
                self._is_down, self._probe_at = True, time.monotonic() + PROBE_SECONDS
                return
            if self._stop.wait(pause):
                return

    def _accept(self, batch: _Batch, refused: list[Record]) -> bool:
        """Note what the stream took; false when the batch is no longer this lane's."""
        with self._changed:
            if batch.is_claimed:
                return False
            accepted = len(batch.records) - len(refused)
            self.counts["drained" if batch.is_drained else "sent"] += accepted
            self._held_bytes += _held(refused) - _held(batch.records)
            self._is_down = self._is_down and not accepted
            batch.records = refused
        return True

    def _answer_to(self, error: ClientError, client: Any) -> None:
        code = error.response["Error"]["Code"]
        if code in _EXPIRED:
            with self._changed:
                if self._client is client:
                    self._client = self._new_client()
        elif code not in _THROTTLED and error.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
            self._trouble = Trouble(
                f"{self._api.name} stream {self._stream!r} takes no more lines: {error}"
            )

    def _settle(self, batch: _Batch) -> None:
        """Keep what is left of a batch, unless another thread did."""
        with self._changed:
            if batch.is_claimed:
                return
            batch.is_claimed = True
        if batch.is_drained:
            self._left_over += batch.records
        elif batch.records:
            try:
                self._spool.append(batch.records)
                self._count("spooled", len(batch.records))
            except OSError as error:
                self._give_up(len(batch.records), error)
        with self._changed:
            self._held_bytes -= _held(batch.records)
            del self._unsettled[batch.number]
            self._changed.notify_all()

    def _count(self, name: str, count: int) -> None:
        with self._changed:  # += is not atomic
            self.counts[name] += count

    def _give_up(self, count: int, error: OSError) -> None:
        self._count("failed", count)
        self._trouble = Trouble(
            f"the spool {self._spool.folder} cannot be written: {error.strerror}"
        )


def _held(records: Sequence[Record]) -> int:
    return sum(len(record.data) + len(record.key) + OVERHEAD_BYTES for record in records)
