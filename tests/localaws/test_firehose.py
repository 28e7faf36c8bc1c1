"""Firehose by boto3, as a client of AWS sees it."""

from __future__ import annotations

import gzip
import io
import json
import re
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conftest import EmbeddedAws

ROLE = "arn:aws:iam::000000000000:role/firehose"
FAST = {"SizeInMBs": 1, "IntervalInSeconds": 1}
SLOW = {"SizeInMBs": 128, "IntervalInSeconds": 900}


class Destination:
    """A bucket, and delivery streams into it."""

    def __init__(self, aws: EmbeddedAws, bucket: str) -> None:
        self.aws, self.bucket = aws, bucket
        self.firehose, self.s3 = aws.client("firehose"), aws.client("s3")
        self.streams: list[str] = []

    def stream(self, hints: dict[str, int] = FAST, source: str = "", **config: Any) -> str:
        """A new stream; `config` goes into its S3 destination."""
        name = f"stream-{uuid.uuid4().hex[:12]}"
        more = {}
        if source:
            more = {
                "DeliveryStreamType": "KinesisStreamAsSource",
                "KinesisStreamSourceConfiguration": {"KinesisStreamARN": source, "RoleARN": ROLE},
            }
        self.firehose.create_delivery_stream(
            DeliveryStreamName=name,
            ExtendedS3DestinationConfiguration={
                "RoleARN": ROLE,
                "BucketARN": f"arn:aws:s3:::{self.bucket}",
                "BufferingHints": hints,
                **config,
            },
            **more,
        )
        self.streams.append(name)
        return name

    def put(self, stream: str, *records: bytes) -> dict[str, Any]:
        return self.firehose.put_record_batch(
            DeliveryStreamName=stream, Records=[{"Data": record} for record in records]
        )

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """Key and body of every object."""
        pages = self.s3.get_paginator("list_objects_v2")
        return {
            item["Key"]: self.s3.get_object(Bucket=self.bucket, Key=item["Key"])["Body"].read()
            for page in pages.paginate(Bucket=self.bucket, Prefix=prefix)
            for item in page.get("Contents", [])
        }

    def wait(self, count: int = 1, prefix: str = "", timeout: float = 10) -> dict[str, bytes]:
        """The objects, once there are `count`."""
        found = until(lambda: self._enough(count, prefix), timeout)
        assert len(found) == count, list(found)
        return found

    def _enough(self, count: int, prefix: str) -> dict[str, bytes] | None:
        found = self.objects(prefix)
        return found if len(found) >= count else None

    def describe(self, stream: str) -> dict[str, Any]:
        return self.firehose.describe_delivery_stream(DeliveryStreamName=stream)[
            "DeliveryStreamDescription"
        ]


def until(condition: Callable[[], Any], timeout: float = 10) -> Any:
    """What `condition` returns once it is true; fails when time is up."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return found


@pytest.fixture
def to(aws: EmbeddedAws, bucket: str) -> Iterator[Destination]:
    destination = Destination(aws, bucket)
    yield destination
    for name in destination.streams:
        destination.firehose.delete_delivery_stream(DeliveryStreamName=name)


def refused(code: str, text: str = "") -> Any:
    """The answer is this error."""
    return pytest.raises(ClientError, match=rf"\({code}\).*{text}")


# Delivery


def test_records_are_joined_as_sent_when_the_interval_ends(to: Destination) -> None:
    stream = to.stream()
    before = datetime.now(UTC)
    to.put(stream, b"a\n", b"b", b"", b"c\n")
    to.firehose.put_record(DeliveryStreamName=stream, Record={"Data": b"d"})
    assert to.objects() == {}
    ((key, body),) = to.wait().items()
    assert datetime.now(UTC) - before > timedelta(seconds=0.9)
    assert body == b"a\nbc\nd"
    assert re.fullmatch(
        rf"\d{{4}}/\d\d/\d\d/\d\d/{stream}-1-\d{{4}}-\d\d-\d\d-\d\d-\d\d-\d\d-[0-9a-f-]{{36}}", key
    )
    folder, name = key.rsplit("/", 1)
    time = datetime.strptime(name.removeprefix(f"{stream}-1-")[:19], "%Y-%m-%d-%H-%M-%S")
    assert abs(time.replace(tzinfo=UTC) - before) < timedelta(seconds=2)
    assert folder == time.strftime("%Y/%m/%d/%H")


def test_a_full_buffer_is_delivered_before_its_interval(to: Destination) -> None:
    stream = to.stream({"SizeInMBs": 1, "IntervalInSeconds": 900})
    record = b"x" * 999_999 + b"\n"
    to.put(stream, record)
    time.sleep(0.7)
    assert to.objects() == {}
    to.put(stream, record)
    assert list(to.wait().values()) == [record * 2]


def test_gzip_objects_end_in_gz_unless_an_extension_is_given(to: Destination) -> None:
    plain = to.stream(CompressionFormat="GZIP", Prefix="plain/")
    named = to.stream(CompressionFormat="GZIP", Prefix="named/", FileExtension=".json.gz")
    for stream in (plain, named):
        to.put(stream, b'{"n":1}\n', b'{"n":2}\n')
    for prefix, ending in (("plain/", ".gz"), ("named/", ".json.gz")):
        ((key, body),) = to.wait(prefix=prefix).items()
        assert re.search(r"-[0-9a-f]{12}" + re.escape(ending) + "$", key)
        assert gzip.decompress(body) == b'{"n":1}\n{"n":2}\n'


def test_a_prefix_has_times_quoted_text_and_random_strings(to: Destination) -> None:
    stream = to.stream(
        Prefix="raw/year=!{timestamp:yyyy}/!{timestamp:'day='dd-MM-yy}/!{firehose:random-string}/",
        ErrorOutputPrefix="errors/!{firehose:error-output-type}/!{timestamp:yyyy}/",
    )
    to.put(stream, b"x")
    (key,) = to.wait()
    now = datetime.now(UTC)
    start = f"raw/year={now:%Y}/day={now:%d-%m-%y}/"
    assert re.fullmatch(re.escape(start) + rf"[0-9a-f]{{11}}/{stream}-1-.*", key)


def test_the_time_zone_is_that_of_the_stream(to: Destination) -> None:
    stream = to.stream(CustomTimeZone="Asia/Tokyo", Prefix="tokyo/")
    to.put(stream, b"x")
    (key,) = to.wait()
    assert key.startswith((datetime.now(UTC) + timedelta(hours=9)).strftime("tokyo/%Y/%m/%d/%H/"))


@pytest.mark.parametrize(
    ("delimiter", "body"), [(None, b"a\nb\n"), (r"\n", b"a\nb\n"), (r"|\t", b"a|\tb|\t")]
)
def test_a_delimiter_is_appended_when_asked_for(
    to: Destination, delimiter: str | None, body: bytes
) -> None:
    given = [{"ParameterName": "Delimiter", "ParameterValue": delimiter}] if delimiter else []
    stream = to.stream(
        ProcessingConfiguration={
            "Enabled": True,
            "Processors": [{"Type": "AppendDelimiterToRecord", "Parameters": given}],
        }
    )
    to.put(stream, b"a", b"b")
    assert list(to.wait().values()) == [body]


FUNCTION = """
import base64
def handler(event, context):
    if event["records"][0]["data"] == base64.b64encode(b"boom").decode():
        raise ValueError("no such luck")
    def one(record):
        text = base64.b64decode(record["data"]).decode()
        result = {"drop": "Dropped", "fail": "ProcessingFailed"}.get(text, "Ok")
        data = base64.b64encode((text.upper() + "\\n").encode()).decode()
        data = "?" if text == "garble" else data
        return {"recordId": record["recordId"], "result": result, "data": data}
    return {"records": [one(r) for r in event["records"] if r["data"] != "bG9zdA=="]}
"""


def test_a_lambda_function_transforms_and_its_failures_go_to_the_error_prefix(
    to: Destination, aws: EmbeddedAws
) -> None:
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("f.py", FUNCTION)
    function = aws.client("lambda").create_function(
        FunctionName=f"f-{uuid.uuid4().hex[:8]}",
        Runtime="python3.11",
        Role=ROLE,
        Handler="f.handler",
        Code={"ZipFile": package.getvalue()},
    )["FunctionArn"]
    stream = to.stream(
        Prefix="good/!{timestamp:yyyy}/",
        ErrorOutputPrefix="bad/!{firehose:error-output-type}/",
        ProcessingConfiguration={
            "Enabled": True,
            "Processors": [
                {
                    "Type": "Lambda",
                    "Parameters": [
                        {"ParameterName": "LambdaArn", "ParameterValue": function},
                        {"ParameterName": "NumberOfRetries", "ParameterValue": "1"},
                    ],
                }
            ],
        },
    )
    to.put(stream, b"one", b"drop", b"fail", b"lost", b"garble", b"two")
    to.put(stream, b"boom")
    assert list(to.wait(prefix="good/", timeout=30).values()) == [b"ONE\nTWO\n"]
    ((key, body),) = to.wait(prefix="bad/").items()
    assert key.startswith(f"bad/processing-failed/{stream}-1-")
    lines = [json.loads(line) for line in body.splitlines()]
    assert [(line["errorCode"], line["rawData"], line["attemptsMade"]) for line in lines] == [
        ("Lambda.ProcessingFailedStatus", "ZmFpbA==", 1),
        ("Lambda.MissingRecordId", "bG9zdA==", 1),
        ("Lambda.InvalidData", "Z2FyYmxl", 1),
        ("Lambda.FunctionError", "Ym9vbQ==", 2),
    ]
    assert "no such luck" in lines[3]["errorMessage"]


def test_records_wait_for_a_bucket_that_is_missing_and_the_log_says_so(
    to: Destination, aws: EmbeddedAws
) -> None:
    logs = aws.client("logs")
    missing = f"late-{uuid.uuid4().hex[:12]}"
    stream = to.stream(
        {"SizeInMBs": 1, "IntervalInSeconds": 0},
        BucketARN=f"arn:aws:s3:::{missing}",
        CloudWatchLoggingOptions={
            "Enabled": True,
            "LogGroupName": f"/aws/kinesisfirehose/{missing}",
            "LogStreamName": "S3Delivery",
        },
    )
    to.put(stream, b"kept\n")

    def lines() -> list[dict[str, Any]]:
        try:
            events = logs.filter_log_events(logGroupName=f"/aws/kinesisfirehose/{missing}")
        except logs.exceptions.ResourceNotFoundException:
            return []
        return [json.loads(event["message"]) for event in events["events"]]

    (line, *_) = until(lines)
    assert line["errorCode"] == "S3.NoSuchBucket"
    assert line["deliveryStreamARN"].endswith(f"deliverystream/{stream}")
    to.put(stream, b"too\n")
    to.bucket = missing
    to.s3.create_bucket(Bucket=missing)
    bodies = until(lambda: b"".join(to.objects().values()).count(b"\n") == 2 and to.objects())
    assert sorted(bodies.values()) == [b"kept\n", b"too\n"]


def test_a_spool_that_cannot_be_written_fails_each_record(
    to: Destination, aws: EmbeddedAws
) -> None:
    stream = to.stream()
    folder = aws.home / "firehose" / f"{stream}.spool"
    folder.rename(moved := folder.with_suffix(".moved"))
    try:
        answer = to.put(stream, b"a", b"b")
        assert answer["FailedPutCount"] == 2
        assert [entry["ErrorCode"] for entry in answer["RequestResponses"]] == [
            "ServiceUnavailableException"
        ] * 2
        with refused("ServiceUnavailableException", "Slow down"):
            to.firehose.put_record(DeliveryStreamName=stream, Record={"Data": b"c"})
    finally:
        moved.rename(folder)
    assert to.put(stream, b"after")["FailedPutCount"] == 0
    assert list(to.wait().values()) == [b"after"]


# Kinesis source


def test_a_kinesis_stream_is_read_from_every_shard_also_after_a_split(
    to: Destination, aws: EmbeddedAws
) -> None:
    kinesis = aws.client("kinesis")
    source = f"source-{uuid.uuid4().hex[:8]}"
    kinesis.create_stream(StreamName=source, ShardCount=2)
    summary = kinesis.describe_stream_summary(StreamName=source)["StreamDescriptionSummary"]
    put(kinesis, source, range(5))
    time.sleep(0.05)
    stream = to.stream(source=summary["StreamARN"])
    put(kinesis, source, range(10, 110))
    with refused("InvalidArgumentException", "not permitted on KinesisStreamAsSource"):
        to.put(stream, b"x")
    until(lambda: len(numbers(to)) == 100)
    kinesis.update_shard_count(StreamName=source, TargetShardCount=4, ScalingType="UNIFORM_SCALING")
    put(kinesis, source, range(200, 300))
    until(lambda: len(numbers(to)) >= 200)
    time.sleep(1.5)
    assert numbers(to) == [*range(10, 110), *range(200, 300)]
    described = to.describe(stream)["Source"]["KinesisStreamSourceDescription"]
    assert described["KinesisStreamARN"] == summary["StreamARN"]
    assert isinstance(described["DeliveryStartTimestamp"], datetime)


def put(kinesis: Any, stream: str, numbers: range) -> None:
    kinesis.put_records(
        StreamName=stream,
        Records=[{"Data": b"%d\n" % number, "PartitionKey": str(number)} for number in numbers],
    )


def numbers(to: Destination) -> list[int]:
    return sorted(int(line) for body in to.objects().values() for line in body.splitlines())


# Metrics


def test_cloudwatch_has_what_came_in_and_what_was_delivered(
    to: Destination, aws: EmbeddedAws
) -> None:
    stream = to.stream()
    to.put(stream, b"12345", b"67890")
    to.put(stream, b"abc")
    cloudwatch = aws.client("cloudwatch")

    def sums(name: str, statistic: str = "Sum") -> float:
        points = cloudwatch.get_metric_statistics(
            Namespace="AWS/Firehose",
            MetricName=name,
            Dimensions=[{"Name": "DeliveryStreamName", "Value": stream}],
            StartTime=datetime.now(UTC) - timedelta(minutes=5),
            EndTime=datetime.now(UTC) + timedelta(minutes=1),
            Period=3600,
            Statistics=[statistic],
        )["Datapoints"]
        return sum(point[statistic] for point in points)

    until(lambda: sums("DeliveryToS3.Records"), 15)
    assert sums("IncomingRecords") == 3
    assert sums("IncomingBytes") == 13
    assert sums("IncomingPutRequests") == 2
    assert sums("DeliveryToS3.Records") == 3
    assert sums("DeliveryToS3.Bytes") == 13
    assert sums("DeliveryToS3.Success", "Average") == 1
    assert 0.5 < sums("DeliveryToS3.DataFreshness", "Maximum") < 10
    (result,) = cloudwatch.get_metric_data(
        MetricDataQueries=[
            {
                "Id": "m",
                "MetricStat": {
                    "Metric": {
                        "Namespace": "AWS/Firehose",
                        "MetricName": "IncomingRecords",
                        "Dimensions": [{"Name": "DeliveryStreamName", "Value": stream}],
                    },
                    "Period": 3600,
                    "Stat": "Sum",
                },
            }
        ],
        StartTime=datetime.now(UTC) - timedelta(hours=1),
        EndTime=datetime.now(UTC) + timedelta(minutes=1),
    )["MetricDataResults"]
    assert sum(result["Values"]) == 3


# Limits


def test_a_batch_within_the_limits_is_answered_record_by_record(to: Destination) -> None:
    stream = to.stream(SLOW)
    answer = to.put(stream, *[b"x" * 8388] * 500)
    assert answer["FailedPutCount"] == 0
    assert answer["Encrypted"] is False
    assert len({entry["RecordId"] for entry in answer["RequestResponses"]}) == 500
    assert to.put(stream, b"x" * 1_024_000)["FailedPutCount"] == 0


@pytest.mark.parametrize(
    ("records", "code", "text"),
    [
        ([b"x"] * 501, "ValidationException", "less than or equal to 500"),
        ([b"x", b"y" * 1_024_001], "ValidationException", r"records\.2\.member\.data"),
        ([b"x" * 1_000_000] * 5, "InvalidArgumentException", "4 MB"),
    ],
)
def test_a_batch_beyond_a_limit_is_refused_whole(
    to: Destination, records: list[bytes], code: str, text: str
) -> None:
    stream = to.stream({"SizeInMBs": 1, "IntervalInSeconds": 0})
    with refused(code, text):
        to.put(stream, *records)
    to.put(stream, b"good")
    assert list(to.wait().values()) == [b"good"]


def test_a_record_beyond_the_limit_is_refused(to: Destination) -> None:
    with refused("ValidationException", r"record\.data"):
        to.firehose.put_record(
            DeliveryStreamName=to.stream(SLOW), Record={"Data": b"x" * 1_024_001}
        )


def test_a_stream_that_is_not_there_is_not_found(to: Destination) -> None:
    for call in (
        lambda: to.put("nowhere", b"x"),
        lambda: to.describe("nowhere"),
        lambda: to.firehose.delete_delivery_stream(DeliveryStreamName="nowhere"),
        lambda: to.firehose.list_tags_for_delivery_stream(DeliveryStreamName="nowhere"),
    ):
        with refused("ResourceNotFoundException", "nowhere"):
            call()


# Control plane


def test_the_description_has_what_was_given_and_the_defaults(to: Destination) -> None:
    stream = to.stream(SLOW, Prefix="raw/")
    description = to.describe(stream)
    assert description["DeliveryStreamStatus"] == "ACTIVE"
    assert description["DeliveryStreamType"] == "DirectPut"
    assert description["VersionId"] == "1"
    assert description["DeliveryStreamEncryptionConfiguration"] == {"Status": "DISABLED"}
    (destination,) = description["Destinations"]
    extended = destination["ExtendedS3DestinationDescription"]
    assert extended["BufferingHints"] == SLOW
    assert extended["Prefix"] == "raw/"
    assert extended["CompressionFormat"] == "UNCOMPRESSED"
    assert extended["CustomTimeZone"] == "UTC"
    assert extended["EncryptionConfiguration"] == {"NoEncryptionConfig": "NoEncryption"}
    assert destination["S3DestinationDescription"]["BucketARN"] == f"arn:aws:s3:::{to.bucket}"


def test_the_older_s3_destination_works(to: Destination) -> None:
    name = f"old-{uuid.uuid4().hex[:8]}"
    to.firehose.create_delivery_stream(
        DeliveryStreamName=name,
        S3DestinationConfiguration={
            "RoleARN": ROLE,
            "BucketARN": f"arn:aws:s3:::{to.bucket}",
            "BufferingHints": FAST,
        },
    )
    to.streams.append(name)
    (destination,) = to.describe(name)["Destinations"]
    assert "ExtendedS3DestinationDescription" not in destination
    to.put(name, b"old")
    assert list(to.wait().values()) == [b"old"]


def test_a_name_can_be_used_once(to: Destination) -> None:
    stream = to.stream(SLOW)
    with refused("ResourceInUseException", stream):
        to.firehose.create_delivery_stream(
            DeliveryStreamName=stream,
            S3DestinationConfiguration={"RoleARN": ROLE, "BucketARN": "arn:aws:s3:::any"},
        )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"BucketARN": "my-bucket"}, "my-bucket"),
        ({"RoleARN": "my-role"}, "my-role"),
        ({"BufferingHints": {"SizeInMBs": 129, "IntervalInSeconds": 60}}, "1 to 128"),
        ({"BufferingHints": {"SizeInMBs": 1, "IntervalInSeconds": 901}}, "0 to 900"),
        ({"BufferingHints": {"SizeInMBs": 1}}, "both"),
        ({"CompressionFormat": "Snappy"}, "Snappy is not implemented"),
        ({"Prefix": "!{timestamp:yyyy}/"}, "ErrorOutputPrefix cannot be null or empty"),
        ({"Prefix": "!{timestamp:w}/", "ErrorOutputPrefix": "e/"}, "letter 'w'"),
        ({"Prefix": "!{timestamp:'x}/", "ErrorOutputPrefix": "e/"}, "!{namespace:value}"),
        ({"Prefix": "!{partitionKeyFromQuery:a}/", "ErrorOutputPrefix": "e/"}, "cannot be used"),
        ({"Prefix": "!{firehose:error-output-type}/", "ErrorOutputPrefix": "e/"}, "cannot be used"),
        ({"ErrorOutputPrefix": "e/!{timestamp:yyyy}/"}, "must contain"),
        ({"FileExtension": "gz"}, "FileExtension"),
        ({"CustomTimeZone": "Mars/Base"}, "Mars/Base"),
        ({"S3BackupMode": "Enabled"}, "S3BackupMode is not implemented"),
        ({"DynamicPartitioningConfiguration": {"Enabled": True}}, "DynamicPartitioning"),
        ({"DataFormatConversionConfiguration": {"Enabled": True}}, "DataFormatConversion"),
        ({"CloudWatchLoggingOptions": {"Enabled": True}}, "LogGroupName"),
        (
            {"ProcessingConfiguration": {"Processors": [{"Type": "MetadataExtraction"}]}},
            "MetadataExtraction is not implemented",
        ),
        ({"ProcessingConfiguration": {"Processors": [{"Type": "Lambda"}]}}, "LambdaArn"),
    ],
)
def test_a_destination_that_cannot_be_served_is_refused(
    to: Destination, change: dict[str, Any], text: str
) -> None:
    with refused("InvalidArgumentException", re.escape(text)):
        to.stream(**change)


def test_other_destinations_and_sources_are_refused(to: Destination) -> None:
    create = to.firehose.create_delivery_stream
    with refused("InvalidArgumentException", "S3 only, not to HttpEndpoint"):
        create(
            DeliveryStreamName="h",
            HttpEndpointDestinationConfiguration={
                "EndpointConfiguration": {"Url": "https://example.com"},
                "S3Configuration": {"RoleARN": ROLE, "BucketARN": "arn:aws:s3:::any"},
            },
        )
    with refused("InvalidArgumentException", "Exactly one destination"):
        create(DeliveryStreamName="none")
    with refused("InvalidArgumentException", "bad name"):
        create(DeliveryStreamName="bad name")
    with refused("InvalidArgumentException", "source cannot be read"):
        to.stream(source="arn:aws:kinesis:us-east-1:000000000000:stream/nowhere")
    assert "h" not in to.firehose.list_delivery_streams(Limit=100)["DeliveryStreamNames"]


def test_an_update_needs_the_current_version_and_keeps_what_it_does_not_name(
    to: Destination,
) -> None:
    stream = to.stream(SLOW, Prefix="before/")
    to.put(stream, b"x")
    change = {
        "DeliveryStreamName": stream,
        "CurrentDeliveryStreamVersionId": "1",
        "DestinationId": "destinationId-000000000001",
        "ExtendedS3DestinationUpdate": {"BufferingHints": FAST, "CompressionFormat": "GZIP"},
    }
    with refused("ConcurrentModificationException", "version 1"):
        to.firehose.update_destination(**change | {"CurrentDeliveryStreamVersionId": "7"})
    with refused("InvalidArgumentException", "destinationId-9"):
        to.firehose.update_destination(**change | {"DestinationId": "destinationId-9"})
    to.firehose.update_destination(**change)
    description = to.describe(stream)
    assert description["VersionId"] == "2"
    assert description["LastUpdateTimestamp"] >= description["CreateTimestamp"]
    extended = description["Destinations"][0]["ExtendedS3DestinationDescription"]
    assert (extended["Prefix"], extended["BufferingHints"]) == ("before/", FAST)
    ((key, body),) = to.wait().items()
    assert re.search(rf"^before/.*/{stream}-2-.*\.gz$", key)
    assert gzip.decompress(body) == b"x"


def test_streams_are_listed_in_pages(to: Destination) -> None:
    names = sorted(to.stream(SLOW) for _ in range(3))
    first = to.firehose.list_delivery_streams(
        Limit=2, ExclusiveStartDeliveryStreamName=names[0][:-1]
    )
    assert first == first | {"DeliveryStreamNames": names[:2], "HasMoreDeliveryStreams": True}
    second = to.firehose.list_delivery_streams(
        ExclusiveStartDeliveryStreamName=names[1], DeliveryStreamType="DirectPut"
    )
    assert second["DeliveryStreamNames"][0] == names[2]
    empty = to.firehose.list_delivery_streams(DeliveryStreamType="MSKAsSource")
    assert empty == empty | {"DeliveryStreamNames": [], "HasMoreDeliveryStreams": False}


def test_tags_are_added_replaced_removed_and_listed_in_pages(to: Destination) -> None:
    stream = {"DeliveryStreamName": to.stream(SLOW)}
    to.firehose.tag_delivery_stream(**stream, Tags=[{"Key": k, "Value": "1"} for k in "cab"])
    to.firehose.tag_delivery_stream(**stream, Tags=[{"Key": "b", "Value": "2"}])
    to.firehose.untag_delivery_stream(**stream, TagKeys=["a", "z"])
    page = to.firehose.list_tags_for_delivery_stream(**stream, Limit=1)
    assert (page["Tags"], page["HasMoreTags"]) == ([{"Key": "b", "Value": "2"}], True)
    page = to.firehose.list_tags_for_delivery_stream(**stream, ExclusiveStartTagKey="b")
    assert (page["Tags"], page["HasMoreTags"]) == ([{"Key": "c", "Value": "1"}], False)
    with refused("LimitExceededException", "50 tags"):
        to.firehose.tag_delivery_stream(
            **stream, Tags=[{"Key": f"k{number}", "Value": ""} for number in range(49)]
        )


def test_encryption_is_switched_on_and_off(to: Destination) -> None:
    stream = to.stream(SLOW)
    to.firehose.start_delivery_stream_encryption(
        DeliveryStreamName=stream,
        DeliveryStreamEncryptionConfigurationInput={"KeyType": "AWS_OWNED_CMK"},
    )
    assert to.describe(stream)["DeliveryStreamEncryptionConfiguration"] == {
        "Status": "ENABLED",
        "KeyType": "AWS_OWNED_CMK",
    }
    assert to.put(stream, b"x")["Encrypted"] is True
    to.firehose.stop_delivery_stream_encryption(DeliveryStreamName=stream)
    assert to.put(stream, b"x")["Encrypted"] is False


def test_a_deleted_stream_is_gone_with_its_spool(to: Destination, aws: EmbeddedAws) -> None:
    stream = to.stream(SLOW)
    to.put(stream, b"x")
    to.firehose.delete_delivery_stream(DeliveryStreamName=to.streams.pop())
    with refused("ResourceNotFoundException"):
        to.describe(stream)
    assert not (aws.home / "firehose" / f"{stream}.spool").exists()


def test_what_is_off_is_not_described(to: Destination, aws: EmbeddedAws) -> None:
    source = f"source-{uuid.uuid4().hex[:8]}"
    aws.client("kinesis").create_stream(StreamName=source, ShardCount=1)
    arn = f"arn:aws:kinesis:us-east-1:000000000000:stream/{source}"
    direct, reading = to.describe(to.stream()), to.describe(to.stream(source=arn))
    for found in (direct, reading):
        s3 = found["Destinations"][0]["ExtendedS3DestinationDescription"]
        assert not s3.keys() & {"DynamicPartitioningConfiguration", "ProcessingConfiguration"}
    assert direct["DeliveryStreamEncryptionConfiguration"]["Status"] == "DISABLED"
    assert "DeliveryStreamEncryptionConfiguration" not in reading
