"""Kinesis: the parts that are ours, its records and its resharding."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import EmbeddedAws


@pytest.fixture
def kinesis(aws: EmbeddedAws) -> Any:
    return aws.client("kinesis")


@pytest.fixture
def stream(kinesis: Any) -> Iterator[str]:
    name = f"stream-{uuid.uuid4().hex[:8]}"
    kinesis.create_stream(StreamName=name, ShardCount=2)
    yield name
    kinesis.delete_stream(StreamName=name)


def put(kinesis: Any, stream: str, numbers: range) -> list[dict[str, Any]]:
    return kinesis.put_records(
        StreamName=stream,
        Records=[{"Data": b"%d" % number, "PartitionKey": str(number)} for number in numbers],
    )["Records"]


def read(kinesis: Any, stream: str, shard: str, kind: str = "TRIM_HORIZON", **at: Any) -> list[int]:
    iterator = kinesis.get_shard_iterator(
        StreamName=stream, ShardId=shard, ShardIteratorType=kind, **at
    )["ShardIterator"]
    numbers: list[int] = []
    while records := (answer := kinesis.get_records(ShardIterator=iterator, Limit=7))["Records"]:
        numbers += [int(record["Data"]) for record in records]
        iterator = answer["NextShardIterator"]
    return numbers


def shards(kinesis: Any, stream: str) -> dict[str, bool]:
    """Each shard's id and whether it is open."""
    return {
        shard["ShardId"]: "EndingSequenceNumber" not in shard["SequenceNumberRange"]
        for shard in kinesis.list_shards(StreamName=stream)["Shards"]
    }


def test_an_iterator_starts_where_it_is_told(kinesis: Any, stream: str) -> None:
    placed = put(kinesis, stream, range(100))
    shard = placed[0]["ShardId"]
    here = [number for number, record in enumerate(placed) if record["ShardId"] == shard]
    middle = here[10]
    at = {"StartingSequenceNumber": placed[middle]["SequenceNumber"]}
    assert read(kinesis, stream, shard) == here
    assert read(kinesis, stream, shard, "AT_SEQUENCE_NUMBER", **at) == here[10:]
    assert read(kinesis, stream, shard, "AFTER_SEQUENCE_NUMBER", **at) == here[11:]
    assert read(kinesis, stream, shard, "AT_TIMESTAMP", Timestamp=0) == here
    assert read(kinesis, stream, shard, "LATEST") == []


def test_a_reshard_closes_the_old_shards_and_keeps_their_records(kinesis: Any, stream: str) -> None:
    put(kinesis, stream, range(100))
    old = shards(kinesis, stream)
    kinesis.update_shard_count(StreamName=stream, TargetShardCount=3, ScalingType="UNIFORM_SCALING")
    after = shards(kinesis, stream)
    assert [after[id] for id in old] == [False, False]
    new = [id for id in after if id not in old]
    assert [after[id] for id in new] == [True, True, True]
    assert sorted(n for id in old for n in read(kinesis, stream, id)) == list(range(100))
    put(kinesis, stream, range(100, 200))
    assert sorted(n for id in new for n in read(kinesis, stream, id)) == list(range(100, 200))
    kinesis.merge_shards(StreamName=stream, ShardToMerge=new[0], AdjacentShardToMerge=new[1])
    last = kinesis.list_shards(StreamName=stream)["Shards"][-1]
    assert (last["ParentShardId"], last["AdjacentParentShardId"]) == (new[0], new[1])
    put(kinesis, stream, range(200, 300))
    everything = [n for id in shards(kinesis, stream) for n in read(kinesis, stream, id)]
    assert sorted(everything) == list(range(300))
    summary = kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
    assert summary["OpenShardCount"] == 2


def test_a_stream_made_again_under_the_same_name_is_empty(kinesis: Any, stream: str) -> None:
    put(kinesis, stream, range(10))
    kinesis.delete_stream(StreamName=stream)
    kinesis.create_stream(StreamName=stream, ShardCount=2)
    assert [read(kinesis, stream, id) for id in shards(kinesis, stream)] == [[], []]


def test_a_name_that_is_a_path_stays_inside_its_folder(kinesis: Any, aws: EmbeddedAws) -> None:
    before = {path.name for path in aws.home.iterdir()} | {"firehose", "kinesis"}
    firehose = aws.client("firehose")
    firehose.create_delivery_stream(
        DeliveryStreamName="..",
        S3DestinationConfiguration={
            "RoleARN": "arn:aws:iam::000000000000:role/any",
            "BucketARN": "arn:aws:s3:::any",
        },
    )
    kinesis.create_stream(StreamName="..", ShardCount=1)
    put(kinesis, "..", range(3))
    firehose.delete_delivery_stream(DeliveryStreamName="..")
    kinesis.delete_stream(StreamName="..")
    after = {path.name for path in aws.home.iterdir()}
    assert {name for name in after ^ before if not name.startswith("state.")} == set()
