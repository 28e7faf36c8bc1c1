"""Event source mappings of Kinesis streams: a function on a stream, as Lambda has it."""

from __future__ import annotations

import base64
import io
import itertools
import json
import sqlite3
import textwrap
import time
import urllib.request
import uuid
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localaws.event_source_reader import Answer, judge
from tests.conftest import EmbeddedAws

Event = dict[str, Any]

HANDLER = """
import base64, json, os, time

def handler(event, context):
    with open(os.environ["SEEN"], "a") as seen:
        seen.write(json.dumps({"at": time.time(), "event": event}) + "\\n")
    numbers = [int(base64.b64decode(r["kinesis"]["data"])) for r in event["Records"]]
    places = {n: r["kinesis"]["sequenceNumber"] for n, r in zip(numbers, event["Records"])}
    tries = sum(1 for _ in open(os.environ["SEEN"]))
"""
SUM = """
if event["isFinalInvokeForWindow"]:
    return {"state": {}}
return {"state": {"sum": event["state"].get("sum", 0) + sum(numbers)}}
"""


def numbers(event: Event) -> list[int]:
    """What was put in the records of an event."""
    return [int(base64.b64decode(record["kinesis"]["data"])) for record in event["Records"]]


def wait(condition: Callable[[], Any], seconds: float = 40) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.02)
    return found


def leave(seconds: float, of: int) -> None:
    """Wait for the next tumbling window if less is left of the one that is open now."""
    left = of - time.time() % of
    if left < seconds:
        time.sleep(left)


class Function:
    """A stream and a function that notes each event in a file; `body` ends its handler."""

    def __init__(self, aws: EmbeddedAws, folder: Path, body: str, shards: int = 1) -> None:
        self.aws, self.name = aws, f"on-stream-{uuid.uuid4().hex[:8]}"
        self.file = folder / f"{self.name}.jsonl"
        self.role = f"{self.name}-role"
        self.kinesis, self.client = aws.client("kinesis"), aws.client("lambda")
        self.mapping = ""
        self.kinesis.create_stream(StreamName=self.name, ShardCount=shards)
        self.stream = f"arn:aws:kinesis:us-east-1:000000000000:stream/{self.name}"
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("on_stream.py", HANDLER + textwrap.indent(body, "    "))
        self.arn = self.client.create_function(
            FunctionName=self.name,
            Runtime="python3.11",
            Role=f"arn:aws:iam::000000000000:role/{self.role}",
            Handler="on_stream.handler",
            Code={"ZipFile": code.getvalue()},
            Environment={"Variables": {"SEEN": str(self.file)}},
            Timeout=10,
        )["FunctionArn"]

    def map(self, position: str = "TRIM_HORIZON", **settings: Any) -> dict[str, Any]:
        answer = self.client.create_event_source_mapping(
            FunctionName=self.name,
            EventSourceArn=self.stream,
            StartingPosition=position,
            **settings,
        )
        self.mapping = answer["UUID"]
        return answer

    def update(self, **settings: Any) -> dict[str, Any]:
        return self.client.update_event_source_mapping(UUID=self.mapping, **settings)

    def described(self) -> dict[str, Any]:
        return self.client.get_event_source_mapping(UUID=self.mapping)

    def put(self, *found: int, hash_key: int | None = None) -> list[str]:
        """One PutRecords; returns the sequence numbers."""
        place = {} if hash_key is None else {"ExplicitHashKey": str(hash_key)}
        answer = self.kinesis.put_records(
            StreamName=self.name,
            Records=[{"Data": b"%d" % n, "PartitionKey": str(n), **place} for n in found],
        )
        return [record["SequenceNumber"] for record in answer["Records"]]

    def noted(self) -> list[dict[str, Any]]:
        text = self.file.read_text() if self.file.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def events(self, count: int = 0) -> list[Event]:
        """The events so far, at least `count` of them."""
        wait(lambda: len(self.noted()) >= count)
        return [note["event"] for note in self.noted()]

    def batches(self, count: int = 0) -> list[list[int]]:
        return [numbers(event) for event in self.events(count)]

    def checkpoints(self) -> dict[str, Any]:
        with sqlite3.connect(self.aws.home / "state.sqlite") as db:
            rows = db.execute("SELECT key, body FROM event_sources").fetchall()
        return {key: json.loads(body) for key, body in rows if key.startswith(self.mapping)}

    def end(self) -> None:
        if self.mapping:
            self.client.delete_event_source_mapping(UUID=self.mapping)
        self.client.delete_function(FunctionName=self.name)
        self.kinesis.delete_stream(StreamName=self.name)


@pytest.fixture
def make(aws: EmbeddedAws, tmp_path: Path) -> Iterator[Callable[..., Function]]:
    """Makes functions; their mappings and streams go when the test is over."""
    made: list[Function] = []

    def function(body: str = "", shards: int = 1) -> Function:
        made.append(Function(aws, tmp_path, body, shards))
        return made[-1]

    yield function
    for one in made:
        one.end()


class Queue:
    """An SQS queue, and what lies in it."""

    def __init__(self, aws: EmbeddedAws) -> None:
        self.client, self.name = aws.client("sqs"), f"failed-{uuid.uuid4().hex[:8]}"
        self.url = self.client.create_queue(QueueName=self.name)["QueueUrl"]
        self.arn = f"arn:aws:sqs:us-east-1:000000000000:{self.name}"
        self.as_destination = {"OnFailure": {"Destination": self.arn}}

    def receive(self) -> dict[str, Any]:
        """The next message; waits for it."""
        (message,) = wait(
            lambda: self.client.receive_message(QueueUrl=self.url, WaitTimeSeconds=1).get(
                "Messages"
            )
        )
        self.client.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return json.loads(message["Body"])

    def is_empty(self) -> bool:
        return not self.client.receive_message(QueueUrl=self.url).get("Messages")


@pytest.fixture
def queue(aws: EmbeddedAws) -> Queue:
    return Queue(aws)


# Reading


def test_a_record_is_with_the_function_well_below_a_second_after_its_put(make: Any) -> None:
    function = make()
    function.map()
    function.put(0)
    function.events(1)  # its process has started
    waits = []
    for number in range(1, 7):
        time.sleep(0.25)
        put_at = time.time()
        function.put(number)
        function.events(number + 1)
        waits.append(function.noted()[-1]["at"] - put_at)
    *most, _ = sorted(waits)  # a busy machine may hold one up
    assert max(most) < 0.4


def test_an_event_is_as_lambda_has_it(make: Any) -> None:
    function = make()
    function.map()
    (sequence,) = function.put(7)
    (event,) = function.events(1)
    (record,) = event["Records"]
    arrival = record["kinesis"].pop("approximateArrivalTimestamp")
    assert abs(arrival - time.time()) < 10
    assert event == {
        "Records": [
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": "7",
                    "sequenceNumber": sequence,
                    "data": base64.b64encode(b"7").decode(),
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": f"shardId-000000000000:{sequence}",
                "eventName": "aws:kinesis:record",
                "invokeIdentityArn": f"arn:aws:iam::000000000000:role/{function.role}",
                "awsRegion": "us-east-1",
                "eventSourceARN": function.stream,
            }
        ]
    }


def test_a_batch_is_invoked_when_it_is_full_or_its_window_is_over(make: Any) -> None:
    function = make()
    function.map(BatchSize=10, MaximumBatchingWindowInSeconds=1)
    put_at = time.time()
    function.put(*range(12))
    function.put(*range(12, 25))
    assert [len(batch) for batch in function.batches(3)] == [10, 10, 5]
    assert list(itertools.chain(*function.batches())) == list(range(25))
    assert function.noted()[2]["at"] - put_at > 1


def test_a_batch_stays_below_the_payload_that_a_function_takes(make: Any) -> None:
    function = make()
    function.map(Enabled=False)
    for number in range(8):
        data = b"%1000000d" % number
        function.kinesis.put_record(StreamName=function.name, Data=data, PartitionKey="k")
    function.update(Enabled=True)
    assert function.batches(2) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_mapping_begins_where_it_is_told(make: Any) -> None:
    first = make()
    first.put(1)
    time.sleep(0.01)
    middle = time.time()
    first.put(2)
    later, latest = make(), make()
    later.stream = latest.stream = first.stream
    first.map()
    later.map("AT_TIMESTAMP", StartingPositionTimestamp=middle)
    latest.map("LATEST")
    # It opens a shard that the reader has not seen before the put.
    first.kinesis.update_shard_count(
        StreamName=first.name, TargetShardCount=2, ScalingType="UNIFORM_SCALING"
    )
    first.put(3)
    for function, expected in ((first, [1, 2, 3]), (later, [2, 3]), (latest, [3])):
        wait(lambda each=function: 3 in itertools.chain(*each.batches()))
        assert list(itertools.chain(*function.batches())) == expected


def test_shards_are_read_to_their_end_before_those_that_they_became(make: Any) -> None:
    function = make("time.sleep(0.02)", shards=2)
    function.map(Enabled=False, BatchSize=10)
    counts = (2, 3, 1)
    for generation, _ in enumerate(counts):
        function.put(*range(generation * 30, generation * 30 + 30))
        if following := counts[generation + 1 : generation + 2]:
            function.kinesis.update_shard_count(
                StreamName=function.name,
                TargetShardCount=following[0],
                ScalingType="UNIFORM_SCALING",
            )
    function.update(Enabled=True)
    wait(lambda: len(list(itertools.chain(*function.batches()))) == 90)
    seen = [
        (int(record["eventID"].split(":")[0][-2:]), number)
        for event in function.events()
        for record, number in zip(event["Records"], numbers(event), strict=True)
    ]
    assert sorted(number for _, number in seen) == list(range(90))
    last = [number for shard, number in seen if shard == 5]
    assert [number for _, number in seen[-30:]] == last == list(range(60, 90))


def test_a_failing_shard_holds_up_no_other(make: Any) -> None:
    function = make("if 0 in numbers: raise ValueError('not this shard')", shards=2)
    function.map()
    function.put(0, hash_key=0)
    function.events(2)
    function.put(1, 2, hash_key=2**127)
    wait(lambda: [1, 2] in function.batches())


def test_a_slow_shard_holds_up_no_other(make: Any) -> None:
    function = make("if 0 in numbers: time.sleep(9)", shards=2)
    function.map()
    function.put(0, hash_key=0)
    function.events(1)
    function.put(1, hash_key=2**127)
    wait(lambda: [1] in function.batches(), 8)


def test_filters_choose_records_and_fill_the_batch(make: Any) -> None:
    function = make()
    pattern = json.dumps({"partitionKey": [{"prefix": "1"}]})
    function.map(Enabled=False, BatchSize=3, FilterCriteria={"Filters": [{"Pattern": pattern}]})
    *_, last = function.put(*range(20))
    function.update(Enabled=True)
    assert function.batches(4) == [[1, 10, 11], [12, 13, 14], [15, 16, 17], [18, 19]]
    *_, last = function.put(20, 21)
    wait(lambda: last in str(function.checkpoints()))
    assert len(function.batches()) == 4


# Tumbling windows


def test_a_window_carries_its_state_and_is_closed_with_it(make: Any) -> None:
    function = make(SUM)
    function.map(TumblingWindowInSeconds=1, BatchSize=2)
    function.put(0)
    wait(lambda: any(event["isFinalInvokeForWindow"] for event in function.events()))
    before = len(function.events())
    leave(0.8, of=1)
    function.put(1, 2, 3)
    wait(lambda: len(function.events()) > before and function.events()[-1]["Records"] == [])
    *aggregating, final = function.events()[before:]
    assert [event["state"] for event in aggregating] == [{}, {"sum": 3}]
    assert final["state"] == {"sum": 6}
    arrival = aggregating[0]["Records"][0]["kinesis"]["approximateArrivalTimestamp"]
    bounds = [
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(arrival) + second)) for second in (0, 1)
    ]
    for event in (*aggregating, final):
        assert event["window"] == {"start": bounds[0], "end": bounds[1]}
        assert event["shardId"] == "shardId-000000000000"
        assert event["eventSourceARN"] == function.stream
        assert event["isWindowTerminatedEarly"] is False
        assert event["isFinalInvokeForWindow"] is (event is final)
    assert abs(function.noted()[-1]["at"] - int(arrival) - 1) < 0.8


def test_a_batch_has_the_records_of_one_window_only(make: Any) -> None:
    function = make(SUM)
    function.map(Enabled=False, TumblingWindowInSeconds=1)
    leave(0.3, of=1)
    function.put(1, 2)
    time.sleep(1)
    function.put(3, 4)
    function.update(Enabled=True)
    events = function.events(4)
    assert [numbers(event) for event in events] == [[1, 2], [], [3, 4], []]
    assert [event["state"] for event in events] == [{}, {"sum": 3}, {}, {"sum": 7}]
    assert [event["isFinalInvokeForWindow"] for event in events] == [False, True, False, True]
    assert events[0]["window"] == events[1]["window"]
    assert events[0]["window"]["end"] <= events[2]["window"]["start"]


def test_a_state_over_a_megabyte_ends_its_window_early(make: Any) -> None:
    function = make('return {"state": "x" * (2 << 20) if numbers == [2] else [len(numbers)]}')
    function.map(TumblingWindowInSeconds=900, BatchSize=1)
    leave(5, of=900)
    function.put(1, 2, 3)
    events = function.events(4)
    assert [numbers(event) for event in events] == [[1], [2], [], [3]]
    assert [event["isWindowTerminatedEarly"] for event in events] == [False, False, True, False]
    assert events[2]["isFinalInvokeForWindow"]
    assert len(events[2]["state"]) == 2 << 20
    assert events[3]["state"] == {}
    assert len({event["window"]["start"] for event in events}) == 1


def test_a_window_ends_with_its_shard(make: Any) -> None:
    function = make(SUM)
    function.map(TumblingWindowInSeconds=900)
    leave(5, of=900)
    function.put(1)
    function.events(1)
    function.kinesis.split_shard(
        StreamName=function.name,
        ShardToSplit="shardId-000000000000",
        NewStartingHashKey=str(2**127),
    )
    function.put(2, hash_key=0)
    assert function.batches(3) == [[1], [], [2]]
    assert [event["state"] for event in function.events()] == [{}, {"sum": 1}, {}]


def test_a_window_that_cannot_be_closed_is_given_up_as_a_batch_is(make: Any, queue: Queue) -> None:
    function = make("assert numbers, 'no records'\nreturn {'state': {'n': 1}}")
    function.map(
        TumblingWindowInSeconds=1, MaximumRetryAttempts=1, DestinationConfig=queue.as_destination
    )
    leave(0.3, of=1)
    first, *_, last = function.put(1, 2, 3)
    document = queue.receive()
    assert document["requestContext"]["approximateInvokeCount"] == 2
    batch = document["KinesisBatchInfo"]
    assert (batch["startSequenceNumber"], batch["endSequenceNumber"]) == (first, last)
    function.put(4)
    wait(lambda: [4] in function.batches())
    assert function.batches() == [[1, 2, 3], [], [], [4]]
    assert function.events()[-1]["state"] == {}


# What an answer means

RECORDS = [{"kinesis": {"sequenceNumber": str(number)}} for number in range(10, 15)]


@pytest.mark.parametrize(
    ("body", "done"),
    [
        (None, 5),
        ({}, 5),
        ({"batchItemFailures": None}, 5),
        ({"batchItemFailures": []}, 5),
        ({"batchItemFailures": [{"itemIdentifier": id} for id in ("13", "12", "14")]}, 2),
        ({"batchItemFailures": [{"itemIdentifier": "10"}]}, 0),
        ({"batchItemFailures": [{"itemIdentifier": ""}]}, 0),
        ({"batchItemFailures": [{"itemIdentifier": None}]}, 0),
        ({"batchItemFailures": [{"identifier": "12"}]}, 0),
        ({"batchItemFailures": [{"itemIdentifier": "99"}]}, 0),
        ({"batchItemFailures": ["12"]}, 0),
        ({"batchItemFailures": "12"}, 0),
        ("fine", 0),
    ],
)
def test_what_a_function_reports_says_how_much_is_done(body: Any, done: int) -> None:
    answer = judge({"body": body}, RECORDS, is_windowed=False, is_reporting=True)
    assert (answer.done, answer.is_ok) == (done, done == 5)
    assert judge({"body": body}, RECORDS, False, is_reporting=False).is_ok


def test_an_answer_without_a_state_fails_in_a_window() -> None:
    for body in (None, {}, "fine", {"state": None}):
        assert judge({"body": body}, RECORDS, True, is_reporting=False) == Answer(False)
    assert judge({"body": {"state": 0}}, [], True, is_reporting=True) == Answer(True, 0, "0")


# Failures


def test_a_reported_failure_is_retried_from_the_lowest_number_on(make: Any) -> None:
    function = make(
        """
if tries < 3:
    failed = [places[7], places[3 + tries]]
    return {"batchItemFailures": [{"itemIdentifier": place} for place in failed]}
"""
    )
    function.map(FunctionResponseTypes=["ReportBatchItemFailures"], MaximumRetryAttempts=0)
    function.put(*range(10))
    assert function.batches(3) == [list(range(10)), list(range(4, 10)), list(range(5, 10))]
    function.put(10)
    assert function.batches(4)[-1] == [10]


def test_a_batch_is_given_up_after_its_retries_and_the_shard_goes_on(
    make: Any, queue: Queue
) -> None:
    function = make("if 2 in numbers: raise ValueError('poison')")
    function.map(MaximumRetryAttempts=2, DestinationConfig=queue.as_destination)
    sequences = function.put(1, 2, 3)
    document = queue.receive()
    assert document["requestContext"].pop("requestId")
    assert document.pop("timestamp").endswith("Z")
    batch = document["KinesisBatchInfo"]
    arrivals = [
        record["kinesis"]["approximateArrivalTimestamp"]
        for record in function.events()[0]["Records"]
    ]
    for name, arrival in (("First", arrivals[0]), ("Last", arrivals[-1])):
        told = batch.pop(f"approximateArrivalOf{name}Record")
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(arrival))
        assert told == f"{seconds}.{round(arrival % 1 * 1000):03}Z"
    assert document == {
        "requestContext": {
            "functionArn": function.arn,
            "condition": "RetryAttemptsExhausted",
            "approximateInvokeCount": 3,
        },
        "responseContext": {
            "statusCode": 200,
            "executedVersion": "$LATEST",
            "functionError": "Unhandled",
        },
        "version": "1.0",
        "KinesisBatchInfo": {
            "shardId": "shardId-000000000000",
            "startSequenceNumber": sequences[0],
            "endSequenceNumber": sequences[-1],
            "batchSize": 3,
            "streamArn": function.stream,
        },
    }
    function.put(4)
    assert function.batches(4) == [[1, 2, 3], [1, 2, 3], [1, 2, 3], [4]]


def test_bisecting_finds_the_bad_record_and_uses_no_retries(
    make: Any, aws: EmbeddedAws, queue: Queue
) -> None:
    sns = aws.client("sns")
    topic = sns.create_topic(Name=queue.name)["TopicArn"]
    sns.subscribe(
        TopicArn=topic,
        Protocol="sqs",
        Endpoint=queue.arn,
        Attributes={"RawMessageDelivery": "true"},
    )
    function = make("if 5 in numbers: raise ValueError('poison')")
    function.map(
        BisectBatchOnFunctionError=True,
        MaximumRetryAttempts=1,
        DestinationConfig={"OnFailure": {"Destination": topic}},
    )
    sequences = function.put(*range(8))
    batch = queue.receive()["KinesisBatchInfo"]
    assert (batch["startSequenceNumber"], batch["batchSize"]) == (sequences[5], 1)
    assert (
        function.batches(7)
        == [
            [0, 1, 2, 3, 4, 5, 6, 7],
            [0, 1, 2, 3],
            [4, 5, 6, 7],
            [4, 5],
            [4],
            [5],
            [5],
            [6, 7],
        ][: len(function.batches())]
    )
    wait(lambda: function.batches()[-1] == [6, 7])


def test_throttling_is_no_failure(make: Any, queue: Queue) -> None:
    function = make()
    function.client.put_function_concurrency(
        FunctionName=function.name, ReservedConcurrentExecutions=0
    )
    function.map(MaximumRetryAttempts=0, DestinationConfig=queue.as_destination)
    function.put(1)
    time.sleep(0.7)
    assert function.events() == []
    function.client.delete_function_concurrency(FunctionName=function.name)
    assert function.batches(1) == [[1]]
    assert queue.is_empty()


def test_a_failure_is_logged_and_told(make: Any, aws: EmbeddedAws) -> None:
    function = make("if tries == 1: raise ValueError('once')\ntime.sleep(1)")
    assert function.map()["LastProcessingResult"] == "No records processed"
    function.put(1)
    function.events(2)
    assert function.described()["LastProcessingResult"] == "PROBLEM: Function call failed"
    wait(lambda: function.described()["LastProcessingResult"] == "OK")
    assert function.described()["State"] == "Enabled"
    found = aws.client("logs").filter_log_events(logGroupName=f"/aws/lambda/{function.name}")
    assert "[ERROR] ValueError: once" in [event["message"] for event in found["events"]]


# Going on


def test_enabling_goes_on_where_disabling_stopped(make: Any) -> None:
    function = make()
    function.map(BatchSize=2)
    function.put(1, 2)
    function.events(1)
    assert function.update(Enabled=False)["State"] == "Disabled"
    function.put(3)
    time.sleep(0.3)
    assert function.update(Enabled=True)["State"] == "Enabled"
    assert function.batches(2) == [[1, 2], [3]]


def test_deleting_a_mapping_deletes_its_checkpoints(make: Any) -> None:
    function = make("time.sleep(0.5)")
    function.map()
    function.put(1)
    function.events(1)
    wait(lambda: len(function.checkpoints()) == 2)
    function.put(2)
    function.events(2)
    function.client.delete_event_source_mapping(UUID=function.mapping)
    time.sleep(0.7)  # until the invocation that still ran is over
    assert function.checkpoints() == {}
    function.map()
    assert function.batches(3) == [[1], [2], [1, 2]]


def test_a_kill_loses_neither_records_nor_the_window(tmp_path: Path) -> None:
    with EmbeddedAws(tmp_path / "home") as own:
        summing = Function(own, tmp_path, SUM)
        summing.map("LATEST", TumblingWindowInSeconds=900)
        aging = Function(own, tmp_path, "")
        aging.map(Enabled=False)
        leave(15, of=900)
        summing.put(1, 2)
        summing.events(1)
        wait(lambda: '"sum' in str(summing.checkpoints()))
        old = aging.put(1, 2, 3)
        queue = Queue(own)
        wait(lambda: is_saved(own, summing.mapping, aging.mapping, aging.name, queue.name))
        own.kill()
        make_older(own, aging.name, old[:2])
        own.command("start")
        summing.put(3)
        summing.events(2)
        assert summing.batches() == [[1, 2], [3]]
        assert summing.events()[1]["state"] == {"sum": 3}
        aging.update(
            MaximumRecordAgeInSeconds=60, DestinationConfig=queue.as_destination, Enabled=True
        )
        document = queue.receive()
        assert document["requestContext"]["condition"] == "RecordAgeExceeded"
        assert document["requestContext"]["approximateInvokeCount"] == 0
        assert document["KinesisBatchInfo"]["endSequenceNumber"] == old[1]
        assert aging.batches(1) == [[3]]


def is_saved(aws: EmbeddedAws, *names: str) -> bool:
    """Whether MiniStack's control plane, which is saved now and then, knows the names."""
    text = "".join(file.read_text() for file in (aws.home / "ministack").glob("*.json"))
    return all(name in text for name in names)


def make_older(aws: EmbeddedAws, stream: str, sequences: list[str]) -> None:
    """Make records two minutes older than they are."""
    (file,) = (aws.home / "kinesis").glob(f"*/*/{stream}.stream/*.jsonl")
    records = [json.loads(line) for line in file.read_text().splitlines()]
    for record in records:
        if record["SequenceNumber"] in sequences:
            record["ApproximateArrivalTimestamp"] -= 120
    file.write_text("".join(json.dumps(record) + "\n" for record in records))


# The API


def test_a_mapping_tells_what_it_was_told_and_awss_defaults(make: Any) -> None:
    function = make()
    made = function.map()
    defaults = {
        "StartingPosition": "TRIM_HORIZON",
        "BatchSize": 100,
        "MaximumBatchingWindowInSeconds": 0,
        "ParallelizationFactor": 1,
        "EventSourceArn": function.stream,
        "FunctionArn": function.arn,
        "DestinationConfig": {"OnFailure": {}},
        "MaximumRecordAgeInSeconds": -1,
        "BisectBatchOnFunctionError": False,
        "MaximumRetryAttempts": -1,
        "TumblingWindowInSeconds": 0,
        "FunctionResponseTypes": [],
    }
    assert made.items() >= defaults.items()
    changed = {
        "BatchSize": 7,
        "MaximumBatchingWindowInSeconds": 3,
        "ParallelizationFactor": 2,
        "DestinationConfig": {"OnFailure": {"Destination": "arn:aws:sqs:us-east-1:0:q"}},
        "MaximumRecordAgeInSeconds": 60,
        "BisectBatchOnFunctionError": True,
        "MaximumRetryAttempts": 0,
        "TumblingWindowInSeconds": 30,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "FilterCriteria": {"Filters": [{"Pattern": "{}"}]},
    }
    assert function.update(**changed).items() >= changed.items()
    assert function.described().items() >= changed.items()
    (listed,) = function.client.list_event_source_mappings(FunctionName=function.name)[
        "EventSourceMappings"
    ]
    assert listed.items() >= changed.items()
    unset = function.update(DestinationConfig={}, FilterCriteria={})
    assert unset["DestinationConfig"] == {"OnFailure": {}}
    assert "FilterCriteria" not in unset


def test_a_start_in_time_is_told(make: Any) -> None:
    function = make()
    start = int(time.time())
    function.map("AT_TIMESTAMP", StartingPositionTimestamp=start)
    assert function.described()["StartingPositionTimestamp"].timestamp() == start


@pytest.mark.parametrize(
    "settings",
    [
        {"BatchSize": 10_001},
        {"TumblingWindowInSeconds": 901},
        {"MaximumRecordAgeInSeconds": 59},
        {"MaximumRetryAttempts": 10_001},
        {"StartingPosition": "AT_TIMESTAMP"},
        {"StartingPositionTimestamp": 1},
        {"EventSourceArn": "arn:aws:kinesis:us-east-1:000000000000:stream/none"},
        {"FilterCriteria": {"Filters": [{"Pattern": "{"}]}},
        {"FilterCriteria": {"Filters": [{"Pattern": '{"data": {"a": [{"wildcard": "*"}]}}'}]}},
        {"DestinationConfig": {"OnFailure": {"Destination": "arn:aws:s3:::bucket"}}},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_a_setting_that_cannot_be_is_refused(
    make: Any, aws: EmbeddedAws, settings: dict[str, Any]
) -> None:
    function = make()
    given = {"EventSourceArn": function.stream, "StartingPosition": "TRIM_HORIZON"} | settings
    with pytest.raises(ClientError, match="InvalidParameterValueException"):
        aws.client("lambda").create_event_source_mapping(FunctionName=function.name, **given)


# Who needs which permission


def test_the_functions_role_reads_the_stream_and_writes_to_the_destination(
    make: Any, aws: EmbeddedAws, queue: Queue
) -> None:
    function = make("raise ValueError('poison')")
    function.map(MaximumRetryAttempts=0, DestinationConfig=queue.as_destination)
    function.put(1)
    queue.receive()
    with urllib.request.urlopen(f"{aws.endpoint}/_localaws/trail") as answer:
        calls = json.load(answer)["calls"]
    assert {
        (call["action"], call["resource"])
        for call in calls
        if call["principal"] == function.role and not call["action"].startswith("logs:")
    } == {
        *(
            (f"kinesis:{action}", function.stream)
            for action in ("DescribeStream", "ListShards", "GetShardIterator", "GetRecords")
        ),
        ("sqs:SendMessage", queue.arn),
    }
