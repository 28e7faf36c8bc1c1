"""One shard of a Kinesis event source mapping at work: read, invoked with, checkpointed."""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from localaws import kinesis
from localaws.service import Context
from localaws.state import Table
from localaws.trail import INTERNAL, acting_as

log = logging.getLogger("localaws")

#: What an event source mapping of a Kinesis stream is when nobody has said otherwise.
DEFAULTS: dict[str, Any] = {
    "BatchSize": 100,
    "MaximumBatchingWindowInSeconds": 0,
    "TumblingWindowInSeconds": 0,
    "ParallelizationFactor": 1,
    "MaximumRecordAgeInSeconds": -1,
    "MaximumRetryAttempts": -1,
    "BisectBatchOnFunctionError": False,
    "FunctionResponseTypes": [],
    "DestinationConfig": {"OnFailure": {}},
}
#: AWS's quotas: the payload of an invocation, and the state of a tumbling window.
PAYLOAD_BYTES, STATE_BYTES = 6 << 20, 1 << 20
#: Pauses before a batch is tried again, the last one from then on.
RETRY_SECONDS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
#: A record is stamped just before it can be read; a window waits this long for its last ones.
GRACE_SECONDS = 0.1
#: How long a reader sleeps at most when nothing is put.
IDLE_SECONDS = 1.0

_RETRIES_EXHAUSTED, _TOO_OLD = "RetryAttemptsExhausted", "RecordAgeExceeded"

Record = dict[str, Any]


class Checkpoints:
    """How far each shard of each mapping is done; a mapping that is forgotten stays so."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._lock = threading.Lock()
        self._forgotten: set[str] = set()
        self._is_closed = False

    def get(self, mapping: str, shard: str) -> dict[str, Any] | None:
        """What was saved last."""
        with self._lock:
            return None if self._is_closed else self._table.get(f"{mapping}/{shard}")

    def save(self, mapping: str, shard: str, record: dict[str, Any]) -> None:
        """Keep a record, which a kill does not lose when this returns."""
        with self._lock:
            if not self._is_closed and mapping not in self._forgotten:
                self._table[f"{mapping}/{shard}"] = record

    def forget(self, mapping: str) -> None:
        """Delete a mapping's records; an invocation of it that still runs saves none."""
        with self._lock:
            self._forgotten.add(mapping)
            self._table.clear(f"{mapping}/")

    def close(self) -> None:
        """Save nothing from now on."""
        with self._lock:
            self._is_closed = True


@dataclass(frozen=True)
class Span:
    """Records that follow one another in a shard, as a failure's document tells them."""

    first: str
    last: str
    first_arrival: float
    last_arrival: float
    count: int

    @classmethod
    def of(cls, records: list[Record]) -> Span:
        """That of a batch."""
        first, last = records[0], records[-1]
        return cls(_sequence(first), _sequence(last), _arrival(first), _arrival(last), len(records))

    def __or__(self, later: Span) -> Span:
        return Span(
            self.first,
            later.last,
            self.first_arrival,
            later.last_arrival,
            self.count + later.count,
        )


@dataclass
class Window:
    """An open tumbling window.

    Attributes:
        start: its first second (epoch).
        end: the first second behind it.
        state: what the function answered last, as JSON (a number may be larger than 64 bits).
        span: the records it had.
    """

    start: int
    end: int
    state: str = "{}"
    span: Span | None = None

    def __contains__(self, arrival: float) -> bool:
        return self.start <= arrival < self.end

    def event(self, is_final: bool, is_early: bool) -> dict[str, Any]:
        """What an invocation of this window is told besides its records."""
        return {
            "window": {"start": _seconds(self.start), "end": _seconds(self.end)},
            "state": json.loads(self.state),
            "isFinalInvokeForWindow": is_final,
            "isWindowTerminatedEarly": is_early,
        }


@dataclass(frozen=True)
class Answer:
    """What an invocation came to.

    Attributes:
        is_ok: all of it is done.
        done: how many of its records are done.
        state: the window's state, as JSON.
        error: the function's error, where it is one.
    """

    is_ok: bool
    done: int = 0
    state: str = "{}"
    error: str | None = None


def judge(
    result: dict[str, Any], records: list[Record], is_windowed: bool, is_reporting: bool
) -> Answer:
    """What MiniStack's `result` of an invocation means for its `records`.

    https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-batchfailurereporting.html
    https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-windows.html
    """
    if result.get("error"):
        return Answer(False, error=result.get("function_error") or "Unhandled")
    body = result.get("body")
    state = body.get("state") if isinstance(body, dict) else None
    if is_windowed and state is None:
        return Answer(False)
    done = _count_done(body, records) if is_reporting else len(records)
    if done is None:
        return Answer(False)
    return Answer(done == len(records), done, json.dumps(state))


def _count_done(body: Any, records: list[Record]) -> int | None:
    """How many records come before the first reported one; None when all have failed."""
    if body is None:
        return len(records)
    failures = (body.get("batchItemFailures") or []) if isinstance(body, dict) else None
    if not isinstance(failures, list):
        return None
    places: dict[Any, int] = {_sequence(record): place for place, record in enumerate(records)}
    lowest = len(records)
    for failure in failures:
        identifier = failure.get("itemIdentifier") if isinstance(failure, dict) else None
        if not isinstance(identifier, str) or identifier not in places:
            return None
        lowest = min(lowest, places[identifier])
    return lowest


@dataclass
class _Batch:
    """What was read and is not done: the records to invoke with, and how far that is."""

    records: list[Record] = field(default_factory=list)
    passed: str = ""
    size: int = 0
    since: float = 0


class Reader(threading.Thread):
    """Reads one shard for one mapping, from its checkpoint on.

    Args:
        context: the embedded AWS.
        scope: the account and region of the mapping.
        mapping: MiniStack's record of it; it is looked at again for each batch.
        shard: the shard's id.
        checkpoints: where it goes on, and where the next one will.
        on_end: called last.
    """

    def __init__(
        self,
        context: Context,
        scope: tuple[str, str],
        mapping: dict[str, Any],
        shard: str,
        checkpoints: Checkpoints,
        on_end: Callable[[], None],
    ) -> None:
        super().__init__(name=f"event-source-{mapping['FunctionName']}-{shard}", daemon=True)
        self.has_ended = self.is_finished = False
        self._context, self._scope, self._mapping = context, scope, mapping
        self._id, self._shard, self._arn = mapping["UUID"], shard, mapping["EventSourceArn"]
        self._checkpoints, self._on_end = checkpoints, on_end
        self._stopping, self._woken = threading.Event(), threading.Event()
        self._records: Any = None
        self._position = 0
        self._sequence = ""
        self._window: Window | None = None
        self._batch = _Batch()

    def wake(self) -> None:
        """Look at the shard now."""
        self._woken.set()

    def stop(self) -> None:
        """End after the invocation that runs, if one does."""
        self._stopping.set()
        self._woken.set()

    def run(self) -> None:
        """Read until told to stop, or until a closed shard is done (`is_finished`)."""
        from ministack.core.responses import request_scope

        with request_scope(*self._scope):
            try:
                self._note("DescribeStream", "ListShards", "GetShardIterator")
                while not self._stopping.is_set() and not self.is_finished:
                    self._woken.clear()
                    if delay := self._look():
                        self._woken.wait(min(delay, IDLE_SECONDS))
            finally:
                self.has_ended = True
                self._on_end()

    def _look(self) -> float:
        try:
            return self._step()
        except Exception:  # whatever it is, the records are read again from the checkpoint
            log.exception("event source mapping %s: cannot go on with %s", self._id, self._shard)
            self._records = None
            self._stopping.wait(IDLE_SECONDS)
            return 0

    def _step(self) -> float:
        """Read, and invoke when it is time; returns the seconds until it is worth another look."""
        stream = self._stream()
        shard = kinesis.shards(stream).get(self._shard) if stream else None
        if shard is None:
            return IDLE_SECONDS
        is_closed, now = kinesis.CLOSED in shard, time.time()
        retention = stream["RetentionPeriodHours"] * 3600
        if shard["records"] is not self._records:
            self._seek(shard["records"], retention)
        is_full = self._read()
        window, batch = self._window, self._batch
        if batch.records:
            window = window or self._window_of(_arrival(batch.records[0]))
            waited = time.monotonic() - batch.since
            due = self._setting("MaximumBatchingWindowInSeconds") - waited
            if window:
                due = min(due, window.end + GRACE_SECONDS - now)
            if due > 0 and not is_full and not is_closed:
                return due
            self._deliver(retention)
            return 0
        if batch.passed:  # what FilterCriteria leave out is done
            self._save(batch.passed)
            self._batch = _Batch()
        if self._position < len(self._records):
            if window and kinesis.arrival(self._records[self._position]) not in window:
                self._close_window(retention)
            return 0
        if window and (is_closed or now >= window.end + GRACE_SECONDS):
            self._close_window(retention)
            return 0
        if window:
            return window.end + GRACE_SECONDS - now
        self.is_finished = is_closed
        return IDLE_SECONDS

    def _setting(self, name: str) -> Any:
        return self._mapping.get(name, DEFAULTS[name])

    # Reading

    def _stream(self) -> Any:
        from ministack.services import kinesis as service

        account, region = self._arn.split(":")[4], self._arn.split(":")[3]
        return service._streams.get_scoped(account, region, self._arn.partition("/")[2])

    def _seek(self, records: Any, retention: float) -> None:
        """Go to the first record that is not done; `records` are others after a first put."""
        self._batch, self._window = _Batch(), None
        checkpoint = self._checkpoints.get(self._id, self._shard)
        if checkpoint:
            self._sequence = checkpoint["sequence"]
            if found := checkpoint.get("window"):
                span = found.pop("span")
                self._window = Window(**found, span=Span(**span) if span else None)
            self._position = kinesis.first_after(records, self._sequence)
        else:
            start = self._checkpoints.get(self._id, "") or {}
            oldest = time.time() - retention
            self._position = max(
                kinesis.first_after(records, start.get("sequence", "")),
                kinesis.first_at(records, max(start.get("time", 0), oldest)),
            )
        self._records = records

    def _read(self) -> bool:
        """Add records to the batch; returns whether no more may be added."""
        from ministack.services import lambda_svc

        batch, limit = self._batch, self._setting("BatchSize")
        _, config = self._function()
        role = (config or {}).get("Role", "")
        while len(batch.records) < limit and not self._stopping.is_set():
            start = self._position
            chunk = self._records[start : start + limit - len(batch.records)]
            if not chunk:
                return False
            fitting = chunk[: self._count_fitting(chunk)]
            if fitting:
                self._note("GetRecords")
                self._position += len(fitting)
                batch.passed = fitting[-1]["SequenceNumber"]
                events = [self._event_record(record, role) for record in fitting]
                events = lambda_svc._apply_filter_criteria(events, self._mapping)
                if events and not batch.records:
                    batch.since = time.monotonic()
                batch.records += events
            if len(fitting) < len(chunk):
                return True
        return True

    def _count_fitting(self, chunk: list[kinesis.Record]) -> int:
        """How many of the records may go into the batch: one window's, and not too large."""
        batch = self._batch
        first = _arrival(batch.records[0]) if batch.records else kinesis.arrival(chunk[0])
        window = self._window or self._window_of(first)
        for count, record in enumerate(chunk):
            size = len(record["Data"]) + 512  # what stands around the data
            if window and kinesis.arrival(record) not in window:
                return count
            if batch.size and batch.size + size > PAYLOAD_BYTES:
                return count
            batch.size += size
        return len(chunk)

    def _window_of(self, arrival: float) -> Window | None:
        length = self._setting("TumblingWindowInSeconds")
        start = int(arrival // length * length) if length else 0
        return Window(start, start + length) if length else None

    def _event_record(self, record: kinesis.Record, role: str) -> Record:
        from ministack.services import kinesis as service

        return {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": record["PartitionKey"],
                "sequenceNumber": record["SequenceNumber"],
                "data": service._ensure_base64(record["Data"]),
                "approximateArrivalTimestamp": kinesis.arrival(record),
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": f"{self._shard}:{record['SequenceNumber']}",
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": role,
            "awsRegion": self._arn.split(":")[3],
            "eventSourceARN": self._arn,
        }

    def _note(self, *actions: str) -> None:
        """Note in the access trail what the function's role reads the stream with."""
        _, config = self._function()
        role = (config or {}).get("Role", "").rpartition("/")[2]
        for action in actions if role else ():
            self._context.trail.request(role, "kinesis", action, {"StreamARN": self._arn})

    # Invoking

    def _deliver(self, retention: float) -> None:
        """Invoke until each record of the batch is done or given up, or the reader stops."""
        parts, passed = [self._batch.records], self._batch.passed
        self._batch = _Batch()
        answer, failures, pauses = Answer(True), 0, 0
        while parts and not self._stopping.is_set():
            part = parts[0]
            done = bisect_left(part, self._oldest(retention), key=_arrival)
            if done:
                if not self._give_up(Span.of(part[:done]), _TOO_OLD, failures, answer):
                    return
            else:
                self._window = self._window or self._window_of(_arrival(part[0]))
                told = self._invoke(part)
                if told is None:  # nothing failed: the function could not be invoked
                    self._pause(pauses)
                    pauses += 1
                    continue
                answer, done = told, told.done
                failures += 1
                if done and self._window:
                    self._window.state = answer.state
            if done:
                failures = pauses = 0
            elif self._setting("BisectBatchOnFunctionError") and len(part) > 1:
                half = len(part) // 2
                parts[:1] = [part[:half], part[half:]]
                failures = pauses = 0
                self._pause(pauses)
            elif 0 <= self._setting("MaximumRetryAttempts") < failures:
                done = len(part)
                if not self._give_up(Span.of(part), _RETRIES_EXHAUSTED, failures, answer):
                    return
                failures = pauses = 0
            else:
                self._pause(pauses)
                pauses += 1
            if done:
                parts[:1] = [part[done:]] if part[done:] else []
                self._advance(part[:done], _sequence(part[done - 1]) if parts else passed)
                if self._window and len(self._window.state.encode()) > STATE_BYTES:
                    self._close_window(retention, is_early=True)

    def _advance(self, done: list[Record], sequence: str) -> None:
        if self._window:
            span = Span.of(done)
            self._window.span = self._window.span | span if self._window.span else span
        self._save(sequence)

    def _close_window(self, retention: float, is_early: bool = False) -> None:
        """Invoke for the last time with the window's state, which is dropped then.

        Nothing else of the shard is read until that has succeeded, or is given up as a batch
        would be; what is told then is the records that the window had.
        """
        window, failures, pauses = self._window, 0, 0
        answer = Answer(True)
        while window and not self._stopping.is_set():
            span, condition = window.span, ""
            if 0 <= self._setting("MaximumRetryAttempts") < failures:
                condition = _RETRIES_EXHAUSTED
            elif failures and span and span.last_arrival < self._oldest(retention):
                condition = _TOO_OLD
            if condition:
                if span and not self._give_up(span, condition, failures, answer):
                    return
            else:
                told = self._invoke([], is_final=True, is_early=is_early)
                if not told or not told.is_ok:
                    answer, failures = told or answer, failures + bool(told)
                    self._pause(pauses)
                    pauses += 1
                    continue
            window = self._window = None
            self._save(self._sequence)

    def _oldest(self, retention: float) -> float:
        """The arrival of the oldest record that is still worth an invocation."""
        age = self._setting("MaximumRecordAgeInSeconds")
        return time.time() - (min(age, retention) if age >= 0 else retention)

    def _pause(self, pauses: int) -> None:
        self._stopping.wait(RETRY_SECONDS[min(pauses, len(RETRY_SECONDS) - 1)])

    def _save(self, sequence: str) -> None:
        self._sequence = sequence
        window = asdict(self._window) if self._window else None
        self._checkpoints.save(self._id, self._shard, {"sequence": sequence, "window": window})

    def _function(self) -> tuple[Any, Any]:
        from ministack.services import lambda_svc

        name, qualifier = self._mapping["FunctionName"], self._mapping.get("Qualifier")
        return lambda_svc._get_func_record_for_qualifier(name, qualifier)

    def _invoke(
        self, records: list[Record], is_final: bool = False, is_early: bool = False
    ) -> Answer | None:
        """Invoke the function once; None when it is throttled or not there."""
        from ministack.services import cloudwatch, lambda_svc

        function, config = self._function()
        if function is None:
            self._mapping["LastProcessingResult"] = "PROBLEM: Function not found"
            return None
        event: dict[str, Any] = {"Records": records}
        if self._window:
            event |= self._window.event(is_final, is_early)
            event |= {"shardId": self._shard, "eventSourceARN": self._arn}
        started = time.time()
        result = lambda_svc._execute_function(function, event)
        if result.get("throttle"):
            return None
        if records:
            age = (started - _arrival(records[-1])) * 1000
            name = {"FunctionName": config["FunctionName"]}
            cloudwatch.record_metric("AWS/Lambda", "IteratorAge", age, "Milliseconds", name)
        is_reporting = "ReportBatchItemFailures" in self._setting("FunctionResponseTypes")
        answer = judge(result, records, self._window is not None, is_reporting)
        self._mapping["LastProcessingResult"] = (
            "OK" if answer.is_ok else "PROBLEM: Function call failed"
        )
        return answer

    # Giving up

    def _give_up(self, span: Span, condition: str, invocations: int, answer: Answer) -> bool:
        """Tell the on-failure destination; False when the reader stopped before it was told."""
        config = self._function()[1] or {}
        context = {
            "requestId": str(uuid.uuid4()),
            "functionArn": self._mapping["FunctionArn"],
            "condition": condition,
            "approximateInvokeCount": invocations,
        }
        document: dict[str, Any] = {"requestContext": context}
        if invocations:
            document["responseContext"] = {
                "statusCode": 200,
                "executedVersion": config.get("Version", "$LATEST"),
                "functionError": answer.error,
            }
        document |= {
            "version": "1.0",
            "timestamp": _milliseconds(time.time()),
            "KinesisBatchInfo": {
                "shardId": self._shard,
                "startSequenceNumber": span.first,
                "endSequenceNumber": span.last,
                "approximateArrivalOfFirstRecord": _milliseconds(span.first_arrival),
                "approximateArrivalOfLastRecord": _milliseconds(span.last_arrival),
                "batchSize": span.count,
                "streamArn": self._arn,
            },
        }
        told = "event source mapping %s: %s, %d records of %s are given up"
        log.warning(told, self._id, condition, span.count, self._shard)
        while not self._stopping.is_set():
            try:
                with acting_as(config.get("Role") or INTERNAL):
                    self._send(json.dumps(document))
                return True
            except ClientError as error:  # AWS drops them too when the destination refuses
                log.warning("event source mapping %s: %s", self._id, error)
                return True
            except BotoCoreError as error:
                log.warning("event source mapping %s, will retry: %s", self._id, error)
                self._stopping.wait(IDLE_SECONDS)
        return False

    def _send(self, message: str) -> None:
        destination = self._setting("DestinationConfig").get("OnFailure") or {}
        arn = destination.get("Destination", "")
        if ":sqs:" in arn:
            account, queue = arn.split(":")[4:6]
            url = f"{self._context.endpoint}/{account}/{queue}"
            self._context.client("sqs").send_message(QueueUrl=url, MessageBody=message)
        elif arn:
            self._context.client("sns").publish(TopicArn=arn, Message=message)


def _sequence(record: Record) -> str:
    return record["kinesis"]["sequenceNumber"]


def _arrival(record: Record) -> float:
    return record["kinesis"]["approximateArrivalTimestamp"]


def _seconds(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _milliseconds(time: float) -> str:
    text = datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
