"""Faults of AWS are injected by a botocore hook that answers in its place."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ReadTimeoutError

from producer import sinks
from producer.journeys import Event
from producer.sinks import APIS, StreamSink
from producer.spool import Spool, Trouble

Fault = Callable[["FakeAws", list[dict[str, Any]]], "AWSResponse | list[bool] | None"]
FIELDS = {
    "firehose": ("FailedPutCount", "RequestResponses", {"RecordId": "r"}),
    "kinesis": ("FailedRecordCount", "Records", {"SequenceNumber": "1", "ShardId": "s"}),
}


class FakeAws:
    """Stores what it accepts; ``fault`` may refuse records or answer something else."""

    def __init__(self, service: str) -> None:
        self.service, self.fault = service, None
        self.stored: list[bytes] = []
        self.calls: list[list[dict[str, Any]]] = []
        self.clients = 0
        self._lock = threading.Lock()

    def client(self) -> Any:
        self.clients += 1
        client = boto3.client(
            self.service,
            region_name="us-east-1",
            endpoint_url="http://127.0.0.1:9",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}),
        )
        client.meta.events.register("before-send", self._answer)
        return client

    def _answer(self, request: Any, **_: Any) -> AWSResponse:
        body = json.loads(request.body)
        if "Records" not in body:
            return _response(200, {})
        with self._lock:
            self.calls.append(body["Records"])
            verdict = self.fault(self, body["Records"]) if self.fault else None
            if isinstance(verdict, AWSResponse):
                return verdict
            accepted = verdict if verdict is not None else [True] * len(body["Records"])
            for record, is_accepted in zip(body["Records"], accepted, strict=True):
                if is_accepted:
                    self.stored.append(base64.b64decode(record["Data"]))
        count, entries, good = FIELDS[self.service]
        bad = {"ErrorCode": "ServiceUnavailableException", "ErrorMessage": "slow down"}
        return _response(
            200, {count: accepted.count(False), entries: [good if ok else bad for ok in accepted]}
        )


def _response(status: int, body: dict[str, Any]) -> AWSResponse:
    class Raw:
        def stream(self) -> Iterator[bytes]:
            yield json.dumps(body).encode()

    return AWSResponse("http://127.0.0.1:9", status, {}, Raw())


def refuse_all(status: int, code: str) -> Fault:
    return lambda aws, records: _response(status, {"__type": code, "message": "no"})


def lines(count: int, identities: int = 7) -> list[Event]:
    return [Event(n, f"u-{n % identities}", b'{"n":%d}\n' % n) for n in range(count)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "BACKOFF_BASE_SECONDS", 0.001)
    monkeypatch.setattr(sinks, "BACKOFF_CAP_SECONDS", 0.01)


@pytest.fixture(params=["firehose", "kinesis"])
def aws(request: pytest.FixtureRequest) -> FakeAws:
    return FakeAws(request.param)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool", 2**30) as spool:
        yield spool


def sink_for(
    aws: FakeAws, spool: Spool, stop: threading.Event | None = None, **options: Any
) -> StreamSink:
    return StreamSink(
        APIS[aws.service], "s", aws.client, spool, stop or threading.Event(), **options
    )


def spooled(spool: Spool) -> list[bytes]:
    return [record.data for path in spool.segments() for record in spool.read(path)]


def deliver(aws: FakeAws, spool: Spool, events: list[Event], **options: Any) -> StreamSink:
    sink = sink_for(aws, spool, **options)
    sink.send(events)
    sink.close()
    return sink


def test_batches_hold_at_most_500_records(aws: FakeAws, spool: Spool) -> None:
    events = lines(1_703)
    sink = deliver(aws, spool, events)
    assert sorted(aws.stored) == sorted(event.line for event in events)
    assert max(map(len, aws.calls)) == 500 or len(aws.calls) <= 8
    assert all(len(call) <= 500 for call in aws.calls)
    assert sink.counts == {"sent": 1_703}


def test_batches_hold_at_most_the_bytes_of_a_request(aws: FakeAws, spool: Spool) -> None:
    events = [Event(n, "u", b"x" * 900_000 + b"%d\n" % n) for n in range(12)]
    deliver(aws, spool, events)
    limit = APIS[aws.service].max_batch_bytes
    sizes = [sum(len(base64.b64decode(r["Data"])) + 1 for r in call) for call in aws.calls]
    assert limit - 1_000_000 < max(sizes) <= limit
    assert aws.stored == [event.line for event in events]


def test_a_record_over_the_limit_goes_to_the_side_file(aws: FakeAws, spool: Spool) -> None:
    limit = APIS[aws.service].max_record_bytes
    fits, too_large = b"x" * (limit - 1) + b"\n", b"y" * limit + b"\n"
    sink = deliver(aws, spool, [Event(1, "u", fits), Event(2, "u", too_large)])
    assert aws.stored == [fits]
    assert (spool.folder / "oversize.jsonl").read_bytes() == too_large
    assert sink.counts == {"sent": 1, "oversize": 1}


def test_kinesis_gets_the_identity_as_partition_key(spool: Spool) -> None:
    aws = FakeAws("kinesis")
    deliver(aws, spool, [Event(1, "u-é", b"{}\n")])
    assert aws.calls[0][0]["PartitionKey"] == "u-é"


@pytest.mark.parametrize("failures", [1, 250, 499])
def test_only_the_refused_records_are_sent_again_in_order(
    aws: FakeAws, spool: Spool, failures: int
) -> None:
    def refuse_first_time(aws: FakeAws, records: list[dict[str, Any]]) -> list[bool] | None:
        if len(aws.calls) > 1:
            return None
        return [n % 500 >= failures for n in range(len(records))]

    aws.fault = refuse_first_time
    sink = deliver(aws, spool, events := lines(500, identities=1))
    first, second = aws.calls
    assert second == first[:failures]
    assert Counter(aws.stored) == Counter(event.line for event in events)
    assert sink.counts == {"sent": 500, "resent": failures}


def test_without_faults_every_identity_arrives_in_order(aws: FakeAws, spool: Spool) -> None:
    deliver(aws, spool, events := lines(5_000))
    wanted, found = defaultdict(list), defaultdict(list)
    for event in events:
        wanted[event.at % 7].append(event.line)
    for line in aws.stored:
        found[json.loads(line)["n"] % 7].append(line)
    assert found == wanted


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (503, "ServiceUnavailableException"),
        (500, "InternalFailure"),
        (400, "ProvisionedThroughputExceededException"),
        (400, "ThrottlingException"),
    ],
)
def test_a_burst_of_refusals_loses_and_doubles_nothing(
    aws: FakeAws, spool: Spool, status: int, code: str
) -> None:
    aws.fault = lambda aws, records: (
        _response(status, {"__type": code, "message": "no"}) if len(aws.calls) % 2 else None
    )
    deliver(aws, spool, events := lines(3_000))
    assert Counter(aws.stored) == Counter(event.line for event in events)
    assert spooled(spool) == []


def test_a_lost_answer_means_at_least_once(aws: FakeAws, spool: Spool) -> None:
    def lose_first_answer(aws: FakeAws, records: list[dict[str, Any]]) -> None:
        if len(aws.calls) == 1:
            aws.stored += [base64.b64decode(record["Data"]) for record in records]
            raise ReadTimeoutError(endpoint_url="http://127.0.0.1:9")

    aws.fault = lose_first_answer
    deliver(aws, spool, events := lines(100, identities=1))
    assert Counter(aws.stored) == Counter([event.line for event in events] * 2)


def test_expired_credentials_make_a_new_client(aws: FakeAws, spool: Spool) -> None:
    aws.fault = lambda aws, records: (
        None
        if aws.clients > 1
        else _response(400, {"__type": "ExpiredTokenException", "message": "old"})
    )
    deliver(aws, spool, events := lines(50))
    assert aws.clients == 2
    assert Counter(aws.stored) == Counter(event.line for event in events)


def test_what_cannot_be_sent_is_spooled_and_sent_first_by_the_next_run(
    aws: FakeAws, spool: Spool
) -> None:
    aws.fault = refuse_all(503, "ServiceUnavailableException")
    sink = deliver(aws, spool, events := lines(3_000), patience=0.05)
    assert sink.counts["spooled"] == 3_000
    assert sink.counts["sent"] == 0
    assert Counter(spooled(spool)) == Counter(event.line for event in events)

    aws.fault = None
    sink = sink_for(aws, spool)
    sink.drain()
    assert sink.counts == {"drained": 3_000}
    sink.send([Event(1, "u", b"new\n")])
    sink.close()
    assert Counter(aws.stored) == Counter([*(event.line for event in events), b"new\n"])
    assert aws.stored[-1] == b"new\n"
    assert spool.size == 0
    assert spooled(spool) == []


def test_a_drain_that_fails_halfway_keeps_exactly_the_rest(aws: FakeAws, spool: Spool) -> None:
    aws.fault = refuse_all(503, "ServiceUnavailableException")
    deliver(aws, spool, events := lines(3_000, identities=1), patience=0.02)
    aws.calls.clear()
    aws.fault = lambda aws, records: (
        None if len(aws.calls) <= 2 else _response(503, {"__type": "ServiceUnavailable"})
    )
    sink = sink_for(aws, spool, patience=0.02)
    sink.drain()
    sink.close()
    assert sink.counts["drained"] == len(aws.stored) == 1_000
    assert Counter(aws.stored + spooled(spool)) == Counter(event.line for event in events)


def test_a_stream_that_is_down_is_not_stormed(
    aws: FakeAws, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "PROBE_SECONDS", 60.0)
    aws.fault = refuse_all(503, "ServiceUnavailableException")
    sink = deliver(aws, spool, lines(20_000), patience=0.0, in_flight=2)
    assert len(aws.calls) <= 2
    assert sink.counts["spooled"] == 20_000


def test_a_stream_that_comes_back_takes_lines_again(
    aws: FakeAws, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "PROBE_SECONDS", 0.0)
    aws.fault = lambda aws, records: (
        _response(503, {"__type": "ServiceUnavailable"}) if len(aws.calls) <= 3 else None
    )
    sink = deliver(aws, spool, lines(5_000), patience=0.0, in_flight=1)
    assert sink.counts["spooled"] == 1_500
    assert sink.counts["sent"] == 3_500


def test_a_full_spool_takes_nothing_more_and_loses_nothing(aws: FakeAws, tmp_path: Path) -> None:
    aws.fault = refuse_all(503, "ServiceUnavailableException")
    handed = 0
    with Spool(tmp_path, 50_000) as spool:
        sink = sink_for(aws, spool, patience=0.01)
        for start in range(0, 10_000, 100):
            try:
                sink.send(lines(10_000)[start : start + 100])
            except Trouble as error:
                trouble = error
                break
            handed += 100
        sink.close()
        assert "is full" in str(trouble)
        assert 1_000 < handed < 3_000
        assert sink.counts["spooled"] == handed
        assert Counter(spooled(spool)) == Counter(event.line for event in lines(handed))
        assert spool.size <= 50_000


def test_a_small_spool_does_not_hinder_a_stream_that_works(aws: FakeAws, tmp_path: Path) -> None:
    with Spool(tmp_path, 50_000) as spool:
        sink = sink_for(aws, spool)
        for start in range(0, 10_000, 500):
            sink.send(lines(10_000)[start : start + 500])
        sink.close()
    assert len(aws.stored) == 10_000


def test_a_refusal_for_good_stops_the_run_and_spools_the_rest(aws: FakeAws, spool: Spool) -> None:
    aws.fault = refuse_all(400, "AccessDeniedException")
    sink = sink_for(aws, spool)
    sink.send(lines(1_000))
    with pytest.raises(Trouble, match=r"takes no more lines.*AccessDenied"):
        sink.close()
    assert len(spooled(spool)) == 1_000
    with pytest.raises(Trouble):
        sink.send(lines(1))


def test_a_disk_that_fails_is_said_and_counted(
    aws: FakeAws, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("producer.spool.os.fsync", fail)
    aws.fault = refuse_all(503, "ServiceUnavailableException")
    sink = sink_for(aws, spool, patience=0.01, in_flight=1)
    sink.send(lines(100))
    with pytest.raises(Trouble, match="cannot be written: Input/output error"):
        sink.close()
    assert sink.counts["failed"] == 100


def test_after_a_signal_a_request_that_hangs_is_spooled(
    aws: FakeAws, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "GRACE_SECONDS", 0.3)
    hung, release = threading.Event(), threading.Event()

    def hang(aws: FakeAws, records: list[dict[str, Any]]) -> None:
        hung.set()
        release.wait(20)

    aws.fault = hang
    stop = threading.Event()
    sink = sink_for(aws, spool, stop)
    sink.send(events := lines(600, identities=1))
    assert hung.wait(5)
    stop.set()
    started = time.monotonic()
    sink.close()
    assert time.monotonic() - started < 3
    release.set()
    assert sink.counts["spooled"] == 600
    assert Counter(spooled(spool)) == Counter(event.line for event in events)


def test_a_batch_that_does_not_fill_leaves_soon(
    aws: FakeAws, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "LINGER_SECONDS", 0.05)
    sink = sink_for(aws, spool)
    sink.send(lines(3))
    time.sleep(0.1)
    sink.tick()
    deadline = time.monotonic() + 5
    while len(aws.stored) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(aws.stored) == 3
    sink.close()
