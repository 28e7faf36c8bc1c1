"""The embedded AWS as a process: start, stop, restart, crash."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LOCALAWS_PYTHON, ROOT, EmbeddedAws

ROLE = "arn:aws:iam::000000000000:role/firehose"
#: The gateway saves MiniStack's control plane every half second; a kill loses at most that.
SAVED = 2


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EmbeddedAws]:
    """An embedded AWS that is not started, for one test."""
    embedded = EmbeddedAws(tmp_path / "home")
    yield embedded
    embedded.command("stop")


def run(embedded: EmbeddedAws, name: str, port: int | None = None) -> subprocess.CompletedProcess:
    """One command, whatever its exit code."""
    command = [LOCALAWS_PYTHON, "-m", "localaws", "--home", embedded.home]
    return subprocess.run(
        [*command, "--port", str(port or embedded.port), name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def process(embedded: EmbeddedAws) -> int:
    return int((embedded.home / "lock").read_text())


def is_alive(pid: int) -> bool:
    """Whether the process runs (one that nobody has reaped yet does not)."""
    done = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()[:1] not in ("", "Z")


def crash(embedded: EmbeddedAws) -> None:
    """Kill it and start it again."""
    embedded.kill()
    embedded.command("start")


def lines(embedded: EmbeddedAws, bucket: str) -> list[int]:
    """Every line of every object, sorted."""
    s3 = embedded.client("s3")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    bodies = [s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys]
    return sorted(int(line) for body in bodies for line in body.splitlines())


def wait_for(embedded: EmbeddedAws, bucket: str, count: int) -> list[int]:
    deadline = time.monotonic() + 20
    while len(found := lines(embedded, bucket)) < count and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def make_stream(embedded: EmbeddedAws, name: str, interval: int, **source: Any) -> None:
    embedded.client("s3").create_bucket(Bucket=name)
    embedded.client("firehose").create_delivery_stream(
        DeliveryStreamName=name,
        ExtendedS3DestinationConfiguration={
            "RoleARN": ROLE,
            "BucketARN": f"arn:aws:s3:::{name}",
            "BufferingHints": {"SizeInMBs": 64, "IntervalInSeconds": interval},
        },
        **source,
    )


def test_it_starts_once_and_stops(own: EmbeddedAws) -> None:
    assert run(own, "status").returncode == 1
    assert "running on" in own.command("start")
    pid = process(own)
    assert f"already running on {own.endpoint} (process {pid})" in own.command("start")
    assert f"(process {pid})" in own.command("status")
    own.client("s3").create_bucket(Bucket="any")
    started = time.monotonic()
    assert f"stopped (process {pid})" in own.command("stop")
    assert time.monotonic() - started < 5
    assert own.command("stop") == "localaws: not running\n"
    assert not is_alive(pid)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's /proc")
def test_it_listens_on_its_port_of_loopback_and_nowhere_else(own: EmbeddedAws) -> None:
    own.command("start")
    own.client("s3").list_buckets()
    pid = process(own)
    sockets = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    listening = [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets]
    assert listening == [f"0100007F:{own.port:04X}"]


def test_stop_leaves_a_process_alone_that_got_the_number_since(own: EmbeddedAws) -> None:
    own.home.mkdir()
    with subprocess.Popen(["sleep", "60"]) as other:
        (own.home / "lock").write_text(str(other.pid))
        assert own.command("stop") == "localaws: not running\n"
        assert other.poll() is None
        other.send_signal(signal.SIGKILL)


def test_a_used_port_is_one_clear_line(own: EmbeddedAws) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", own.port))
        holder.listen()
        done = run(own, "start")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"port {own.port} cannot be used" in done.stderr
    assert "LOCALAWS_PORT" in done.stderr


def test_another_port_for_a_running_home_is_refused(own: EmbeddedAws) -> None:
    own.command("start")
    done = run(own, "run", port=own.port + 1 if own.port < 65535 else own.port - 1)
    assert done.returncode == 1
    assert f"another process uses {own.home}" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_restart_and_a_crash_keep_every_resource(own: EmbeddedAws) -> None:
    own.command("start")
    glue, kinesis, s3 = own.client("glue"), own.client("kinesis"), own.client("s3")
    glue.create_database(DatabaseInput={"Name": "clicks"})
    columns = [{"Name": "id", "Type": "string"}]
    glue.create_table(
        DatabaseName="clicks",
        TableInput={"Name": "raw", "StorageDescriptor": {"Columns": columns}},
    )
    policy = {"Version": "2012-10-17", "Statement": []}
    own.client("iam").create_role(RoleName="reader", AssumeRolePolicyDocument=json.dumps(policy))
    s3.create_bucket(Bucket="kept")
    s3.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket="kept", Key="a/b", Body=b"body", Metadata={"by": "test"})
    kinesis.create_stream(StreamName="clicks", ShardCount=2)
    time.sleep(SAVED)
    s3.put_object(Bucket="kept", Key="last", Body=b"moment")
    records = [{"Data": b"%d" % number, "PartitionKey": str(number)} for number in range(500)]
    kinesis.put_records(StreamName="clicks", Records=records)
    crash(own)
    assert_kept(own)
    own.command("stop")
    own.command("start")
    assert_kept(own)


def assert_kept(own: EmbeddedAws) -> None:
    glue, kinesis, s3 = own.client("glue"), own.client("kinesis"), own.client("s3")
    table = glue.get_table(DatabaseName="clicks", Name="raw")["Table"]
    assert table["StorageDescriptor"]["Columns"] == [{"Name": "id", "Type": "string"}]
    assert own.client("iam").get_role(RoleName="reader")["Role"]["RoleName"] == "reader"
    assert s3.get_bucket_versioning(Bucket="kept")["Status"] == "Enabled"
    answer = s3.get_object(Bucket="kept", Key="a/b")
    assert (answer["Body"].read(), answer["Metadata"]) == (b"body", {"by": "test"})
    assert s3.get_object(Bucket="kept", Key="last")["Body"].read() == b"moment"
    data = []
    for shard in kinesis.list_shards(StreamName="clicks")["Shards"]:
        iterator = kinesis.get_shard_iterator(
            StreamName="clicks", ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        data += kinesis.get_records(ShardIterator=iterator)["Records"]
    assert sorted(int(record["Data"]) for record in data) == list(range(500))


def test_ten_thousand_acknowledged_records_survive_a_kill_once_each(own: EmbeddedAws) -> None:
    own.command("start")
    make_stream(own, "clicks", interval=4)
    firehose = own.client("firehose")
    time.sleep(SAVED)
    for start in range(0, 10_000, 500):
        answer = firehose.put_record_batch(
            DeliveryStreamName="clicks",
            Records=[{"Data": b"%d\n" % number} for number in range(start, start + 500)],
        )
        assert answer["FailedPutCount"] == 0
    assert lines(own, "clicks") == []
    own.kill()
    (segment,) = (own.home / "firehose" / "clicks.spool").glob("*.segment")
    with segment.open("ab") as file:  # the frame of a batch that was never acknowledged
        file.write(segment.read_bytes()[:1000])
    own.command("start")
    firehose.put_record(DeliveryStreamName="clicks", Record={"Data": b"10000\n"})
    assert wait_for(own, "clicks", 10_001) == list(range(10_001))
    assert list((own.home / "firehose" / "clicks.spool").iterdir()) == []


def test_a_clean_stop_keeps_the_buffer(own: EmbeddedAws) -> None:
    own.command("start")
    make_stream(own, "clicks", interval=4)
    own.client("firehose").put_record(DeliveryStreamName="clicks", Record={"Data": b"1\n"})
    own.command("stop")
    own.command("start")
    assert wait_for(own, "clicks", 1) == [1]


def test_a_delivery_that_is_repeated_after_a_kill_replaces_its_object(own: EmbeddedAws) -> None:
    own.command("start")
    make_stream(own, "clicks", interval=3)
    time.sleep(SAVED)
    own.client("firehose").put_record(DeliveryStreamName="clicks", Record={"Data": b"1\n"})
    (segment,) = (own.home / "firehose" / "clicks.spool").glob("*.segment")
    copy = segment.read_bytes()
    assert wait_for(own, "clicks", 1) == [1]
    own.kill()
    segment.write_bytes(copy)  # as if killed between the put and the removal
    own.command("start")
    deadline = time.monotonic() + 10
    while segment.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert lines(own, "clicks") == [1]


def test_a_kinesis_source_goes_on_at_its_checkpoint_after_a_kill(own: EmbeddedAws) -> None:
    own.command("start")
    kinesis = own.client("kinesis")
    kinesis.create_stream(StreamName="source", ShardCount=2)
    arn = kinesis.describe_stream_summary(StreamName="source")["StreamDescriptionSummary"]
    make_stream(
        own,
        "clicks",
        interval=1,
        DeliveryStreamType="KinesisStreamAsSource",
        KinesisStreamSourceConfiguration={
            "KinesisStreamARN": arn["StreamARN"],
            "RoleARN": ROLE,
        },
    )
    time.sleep(SAVED)

    def put(numbers: range) -> None:
        kinesis.put_records(
            StreamName="source",
            Records=[{"Data": b"%d\n" % n, "PartitionKey": str(n)} for n in numbers],
        )

    put(range(100))
    assert wait_for(own, "clicks", 100) == list(range(100))
    put(range(100, 400))
    crash(own)
    put(range(400, 500))
    assert wait_for(own, "clicks", 500) == list(range(500))
    time.sleep(1.5)
    assert lines(own, "clicks") == list(range(500))
