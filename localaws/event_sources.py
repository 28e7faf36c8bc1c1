"""Lambda's event source mappings of Kinesis streams, in the place of MiniStack's poller of them.

Each open shard of each enabled mapping has a reader of its own (`event_source_reader`): a slow or
failing shard holds up no other. A shard is read when all those that it came from are read to their
end. How far a shard is done, and its open window, survive a kill: delivery is at least once.

What differs from AWS: ParallelizationFactor is taken and told, but a shard has one batch at a time.
A tumbling window is closed when its time is over, where AWS waits for up to two minutes more; a
reshard closes it, as there. The pauses between retries are shorter, and what a function reports as
done starts its retries anew. A failure's document has a request id of its own.
https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html
"""

from __future__ import annotations

import copy
import json
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

from localaws import kinesis
from localaws.event_source_reader import DEFAULTS, IDLE_SECONDS, Checkpoints, Reader
from localaws.service import Context, Service

log = logging.getLogger("localaws")

#: How often the puts of a busy stream wake its readers at most.
GATHER_SECONDS = 0.02
STOP_SECONDS = 2.0

_LEAST_AND_MOST = {
    "BatchSize": (1, 10_000),
    "MaximumBatchingWindowInSeconds": (0, 300),
    "TumblingWindowInSeconds": (0, 900),
    "ParallelizationFactor": (1, 10),
    "MaximumRecordAgeInSeconds": (-1, 604_800),
    "MaximumRetryAttempts": (-1, 10_000),
}
#: What MiniStack knows of the operators of a filter's pattern.
_OPERATORS = {"exists", "prefix", "suffix", "anything-but", "numeric"}
_STARTING_POSITIONS = ("TRIM_HORIZON", "LATEST", "AT_TIMESTAMP")

Mapping = dict[str, Any]


class _Key(NamedTuple):
    """A mapping's shard; the number tells it from one of an earlier stream of the same name."""

    mapping: str
    shard: str
    starting: str


class EventSources(Service):
    """The readers of all mappings, and what CreateEventSourceMapping and its kin add to them."""

    scope: ClassVar[str] = "lambda"
    falls_through: ClassVar[bool] = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._checkpoints = Checkpoints(context.state.table("event_sources"))
        self._readers: dict[_Key, Reader] = {}
        self._finished: set[_Key] = set()
        self._lock = threading.Lock()
        self._stopping, self._changed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="event-sources", daemon=True)

    def install(self) -> None:
        """Take the place of MiniStack's poller, and complete its actions."""
        from ministack.services import kinesis as streams
        from ministack.services import lambda_svc

        create, update, delete = (
            lambda_svc._create_esm,
            lambda_svc._update_esm,
            lambda_svc._delete_esm,
        )

        def create_esm(request: dict[str, Any]) -> Any:
            if not _is_kinesis(request):
                return create(request)
            request = copy.deepcopy(DEFAULTS) | _without_empty(request)
            if message := _why_not(request) or _why_not_there(request):
                return lambda_svc._invalid_parameter_value(message)
            with self._lock:
                answer = create(request)
                return self._completed(answer, request)

        def update_esm(id: str, request: dict[str, Any]) -> Any:
            if not _is_kinesis(lambda_svc._esms.get(id) or {}):
                return update(id, request)
            request = _without_empty(request)
            if message := _why_not(request):
                return lambda_svc._invalid_parameter_value(message)
            with self._lock:
                answer = update(id, request)
                return self._completed(answer, request)

        def delete_esm(id: str) -> Any:
            with self._lock:
                answer = delete(id)
                self._checkpoints.forget(id)
            self._changed.set()
            return answer

        lambda_svc._create_esm = create_esm
        lambda_svc._update_esm = update_esm
        lambda_svc._delete_esm = delete_esm
        lambda_svc._poll_kinesis = lambda: False
        streams.esm_wake = self._changed  # which is set by every put

    def start(self) -> None:
        """Begin to read."""
        self._changed.set()
        self._thread.start()

    def stop(self) -> None:
        """End the readers; the records of an invocation that still runs then are read again."""
        self._stopping.set()
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)
        deadline = time.monotonic() + STOP_SECONDS
        for reader in self._readers.values():
            reader.stop()
        for reader in self._readers.values():
            reader.join(max(0.0, deadline - time.monotonic()))
        self._checkpoints.close()

    def _completed(self, answer: Any, request: dict[str, Any]) -> Any:
        """MiniStack's answer, and its record, with what it leaves out of a request."""
        from ministack.services import lambda_svc

        status, headers, body = answer
        if status >= 400:
            return answer
        mapping = lambda_svc._esms[json.loads(body)["UUID"]]
        for name in ("TumblingWindowInSeconds", "StartingPositionTimestamp"):
            if name in request:
                mapping[name] = request[name]
        if not mapping.get("FilterCriteria"):
            mapping.pop("FilterCriteria", None)
        mapping["StateTransitionReason"] = "User action"
        self._anchor(mapping)
        self._changed.set()
        return status, headers, json.dumps(lambda_svc._esm_response(mapping)).encode()

    def _anchor(self, mapping: Mapping) -> None:
        """Fix where the mapping begins, when it is enabled for the first time.

        Sequence numbers rise through all shards: that of this moment is LATEST for each of them,
        for those too that a reshard opens before anything was read.
        """
        from ministack.services import kinesis as streams

        if not mapping.get("Enabled", True) or self._checkpoints.get(mapping["UUID"], ""):
            return
        start: dict[str, Any] = {"time": mapping.get("StartingPositionTimestamp", 0)}
        if mapping.get("StartingPosition", "LATEST") == "LATEST":
            start["sequence"] = streams._next_sequence_number()
        self._checkpoints.save(mapping["UUID"], "", start)

    def _watch(self) -> None:
        while not self._stopping.wait(GATHER_SECONDS):
            self._changed.wait(IDLE_SECONDS)
            self._changed.clear()
            try:
                with self._lock:
                    self._match_readers()
            except Exception:
                log.exception("the event source mappings cannot be looked at")

    def _match_readers(self) -> None:
        """Start and end readers, so that there is one for each shard that is to be read."""
        ended = {key: reader for key, reader in self._readers.items() if reader.has_ended}
        for key, reader in ended.items():
            del self._readers[key]
            if reader.is_finished:
                self._finished.add(key)
        wanted = {key: (place, mapping) for key, place, mapping in self._wanted()}
        for key, reader in self._readers.items():
            if key in wanted:
                reader.wake()
            else:
                reader.stop()
        for key, (place, mapping) in wanted.items():
            if key not in self._readers and key not in self._finished:
                reader = Reader(
                    self.context, place, mapping, key.shard, self._checkpoints, self._changed.set
                )
                self._readers[key] = reader
                reader.start()

    def _wanted(self) -> Iterator[tuple[_Key, tuple[str, str], Mapping]]:
        """The shards to be read, with the account and region of their mapping."""
        from ministack.services import kinesis as streams
        from ministack.services import lambda_svc

        for account, region, mapping in lambda_svc._iter_all_esms():
            if not _is_kinesis(mapping) or not mapping.get("Enabled", True):
                continue
            arn = mapping["EventSourceArn"]
            owner, stream_region, name = arn.split(":")[4], arn.split(":")[3], arn.partition("/")[2]
            stream = streams._streams.get_scoped(owner, stream_region, name)
            if not stream:
                continue
            self._anchor(mapping)
            shards = kinesis.shards(stream)
            keys = {
                id: _Key(mapping["UUID"], id, shard["starting_sequence_number"])
                for id, shard in shards.items()
            }
            for id, key in keys.items():
                is_known = key in self._readers or key in self._finished
                if is_known or all(
                    keys[other] in self._finished for other in _ancestors(shards, id)
                ):
                    yield key, (account, region), mapping


def _ancestors(shards: dict[str, dict[str, Any]], id: str) -> Iterator[str]:
    """The closed shards that a shard's keys went to before it was opened.

    Not by the parents' ids: MiniStack's UpdateShardCount names none.
    """
    shard = shards[id]
    first, last = int(shard["starting_hash_key"]), int(shard["ending_hash_key"])
    for other, found in shards.items():
        if (
            kinesis.CLOSED in found
            and found["starting_sequence_number"] < shard["starting_sequence_number"]
            and int(found["starting_hash_key"]) <= last
            and int(found["ending_hash_key"]) >= first
        ):
            yield other


def _is_kinesis(mapping: Mapping) -> bool:
    return mapping.get("EventSourceArn", "").split(":")[2:3] == ["kinesis"]


def _without_empty(request: dict[str, Any]) -> dict[str, Any]:
    """The request in AWS's form of what is not set; Terraform unsets by null or an empty block."""
    request = {name: value for name, value in request.items() if value is not None}
    on_failure = request.get("DestinationConfig", {}).get("OnFailure") or {}
    if "DestinationConfig" in request and not on_failure.get("Destination"):
        request["DestinationConfig"] = copy.deepcopy(DEFAULTS["DestinationConfig"])
    if "FilterCriteria" in request and not request["FilterCriteria"].get("Filters"):
        request["FilterCriteria"] = {}
    return request


def _why_not(request: dict[str, Any]) -> str | None:
    """Why AWS would refuse the settings, or this embedded AWS does."""
    for name, (least, most) in _LEAST_AND_MOST.items():
        value = request.get(name, least)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            return f"{name} must be a number from {least} to {most}, not {value}."
    if 0 <= request.get("MaximumRecordAgeInSeconds", -1) < 60:
        return "MaximumRecordAgeInSeconds must be -1 or at least 60."
    arn = (request.get("DestinationConfig") or {}).get("OnFailure", {}).get("Destination")
    if arn and arn.split(":")[2:3] not in (["sqs"], ["sns"]):
        return f"The destination {arn} must be an SQS queue or an SNS topic."
    for entry in request.get("FilterCriteria", {}).get("Filters", ()):
        try:
            unknown = _unknown_operator(json.loads(entry["Pattern"]))
        except (AttributeError, KeyError, TypeError, ValueError):
            return f"Invalid filter pattern definition: {entry.get('Pattern')}"
        if unknown:
            known = ", ".join(sorted(_OPERATORS))
            return f"The embedded AWS does not know the filter operator {unknown}, only {known}."
    return None


def _unknown_operator(pattern: dict[str, Any]) -> str | None:
    for name, rule in pattern.items():
        if name == "$or":
            return name
        if isinstance(rule, dict):
            if unknown := _unknown_operator(rule):
                return unknown
            continue
        for operators in (entry for entry in rule if isinstance(entry, dict)):
            for operator in operators.keys() - _OPERATORS:
                return operator
    return None


def _why_not_there(request: dict[str, Any]) -> str | None:
    """Why a mapping cannot be made: where it would begin, and whether there is a stream."""
    from ministack.services import kinesis as streams

    if (position := request.get("StartingPosition")) not in _STARTING_POSITIONS:
        return f"StartingPosition must be one of {', '.join(_STARTING_POSITIONS)}, not {position}."
    if (position == "AT_TIMESTAMP") != ("StartingPositionTimestamp" in request):
        return "StartingPositionTimestamp is needed with AT_TIMESTAMP, and only then."
    arn = request["EventSourceArn"]
    if not any(stream["StreamARN"] == arn for _, stream in streams._streams.all_items()):
        return f"Stream not found: {arn}"
    return None
