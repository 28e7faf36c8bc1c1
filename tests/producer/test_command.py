"""``python -m producer`` as a user runs it: real processes, a real embedded AWS."""

from __future__ import annotations

import base64
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
WINDOW = ("--start", "2026-03-02", "--end", "2026-03-03")


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "producer", *map(str, arguments)]


def environment(endpoint: str = "http://127.0.0.1:9") -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }


def produce(
    *arguments: str | Path, endpoint: str = "http://127.0.0.1:9"
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env=environment(endpoint),
        capture_output=True,
        timeout=120,
        check=False,
    )


def summary_of(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    return json.loads(done.stderr.splitlines()[0])


def test_every_sink_gets_the_same_bytes(tmp_path: Path) -> None:
    shared = ("--events", "9000", "--dirty", *WINDOW)
    printed = produce(*shared)
    for name in ("a.json", "a.json.gz", "b.json.gz"):
        assert produce("--sink", "file", "--out", tmp_path / name, *shared).returncode == 0
    assert printed.returncode == 0
    assert printed.stdout == (tmp_path / "a.json").read_bytes()
    assert printed.stdout == gzip.decompress((tmp_path / "a.json.gz").read_bytes())
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()
    assert (tmp_path / "a.json.gz").read_bytes()[4:8] == bytes(4), "the header holds a time"


def test_the_summary_adds_up(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    done = produce("--events", "9000", "--dirty", "--summary", path, *WINDOW)
    assert done.stderr == b""
    summary = json.loads(path.read_text())
    injected = summary["injected"]
    added = sum(injected["malformed"].values()) + sum(
        injected[kind] for kind in ("duplicates", "collisions", "blank")
    )
    assert summary["events"] == 9_000
    assert added > 50
    assert summary["lines"] == 9_000 + added == done.stdout.count(b"\n") == summary["sent"]
    assert summary["bytes"] == len(done.stdout)
    assert (summary["start"], summary["end"]) == ("2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z")
    assert summary["start"] < summary["first_event_at"] < summary["last_event_at"]
    assert summary["last_event_at"] < summary["end"]
    assert summary["rate"] > 0 < summary["seconds"]


def test_skip_lines_goes_on_where_a_run_stopped() -> None:
    shared = ("--events", "9000", "--dirty", *WINDOW)
    whole = produce(*shared).stdout.splitlines(keepends=True)
    rest = produce(*shared, "--skip-lines", "8500").stdout.splitlines(keepends=True)
    assert rest == whole[8500:]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--start", "2026-03-03", "--end", "2026-03-02"), "is not after --start"),
        (("--start", "30.2.2026"), "is not an ISO 8601 date or time"),
        (("--rate", "-1"), "'-1' is not a number above 0"),
        (("--events", "0"), "'0' is not a whole number of at least 1"),
        (("--users", "many"), "'many' is not a whole number"),
        (("--duplicates", "1.5"), "is not a share from 0 to 1"),
        (("--late", "nan"), "is not a share from 0 to 1"),
        (("--late", "0.6", "--blank", "0.6"), "add up to more than 1"),
        (("--duration", "5"), "--duration needs --rate"),
        (("--rate", "1", "--duration", "5", "--events", "5"), "not both"),
        (("--sink", "kafka"), "invalid choice: 'kafka'"),
        (("--sink", "firehose"), "--sink firehose needs --stream NAME"),
        (("--sink", "file"), "--sink file needs --out PATH"),
        (("--drain-only",), "--drain-only needs --sink firehose or --sink kinesis"),
        (("--sink", "kinesis", "--stream", "s", "--in-flight", "99"), "--in-flight is at most"),
        (("--skip-lines", "-1"), "--skip-lines is not negative"),
        (("--end", "0001-01-01"), "is not in the years 1971 to 9998"),
    ],
)
def test_bad_arguments_are_one_clear_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    done = produce(*arguments)
    assert done.returncode == 2
    last = done.stderr.decode().splitlines()[-1]
    assert last.startswith("python -m producer: error: ")
    assert sentence in last
    assert done.stdout == b""


def test_help_shows_how_to_use_it() -> None:
    text = produce("--help").stdout.decode()
    assert "examples:" in text
    for option in ("--sink", "--start", "--rate", "--dirty", "--spool", "--drain-only"):
        assert option in text


def test_a_terminal_gets_a_progress_bar(tmp_path: Path) -> None:
    terminal, its_end = os.openpty()
    done = subprocess.run(
        command("--sink", "file", "--out", tmp_path / "x.json", "--events", "600"),
        cwd=ROOT,
        stderr=its_end,
        timeout=60,
        check=False,
    )
    os.close(its_end)
    shown = os.read(terminal, 100_000)
    os.close(terminal)
    assert done.returncode == 0
    assert b"100%" in shown
    assert b'"lines": 600' in shown


def test_an_address_where_nothing_listens_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    done = produce(
        "--sink", "firehose", "--stream", "s", "--spool", tmp_path, endpoint=address
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert f"nothing answers on {address}" in line
    assert "make up" in line


def test_a_path_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    done = produce("--sink", "file", "--out", tmp_path / "no" / "x.json")
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        f"producer: {tmp_path}/no/x.json cannot be written: No such file or directory"
    ]


def test_a_full_disk_is_one_sentence() -> None:
    done = produce("--sink", "file", "--out", "/dev/full", "--events", "5000")
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1] == "producer: /dev/full: No space left on device"


def test_a_reader_that_leaves_early_causes_no_traceback() -> None:
    pipeline = f"{' '.join(command('--events', '20000'))} | head -c 1"
    done = subprocess.run(
        ["bash", "-c", pipeline], cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    assert b"Traceback" not in done.stderr
    assert b"Broken pipe" in done.stderr.splitlines()[-1]


def test_live_traffic_happens_when_it_is_sent() -> None:
    began = datetime.now(UTC) - timedelta(seconds=1)
    done = produce("--rate", "200", "--duration", "2")
    summary = summary_of(done)
    assert summary["events"] == 400
    assert 1.0 < summary["seconds"] < 4.0
    assert datetime.fromisoformat(summary["first_event_at"]) > began
    assert datetime.fromisoformat(summary["last_event_at"]) < datetime.now(UTC)


def test_a_rate_paces_the_sending_of_a_window() -> None:
    done = produce("--rate", "1000", "--events", "2000", *WINDOW)
    assert 1.8 < summary_of(done)["seconds"] < 4.0
    assert summary_of(done)["end"] == "2026-03-03T00:00:00Z"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_live_traffic_with_a_summary(number: signal.Signals) -> None:
    running = subprocess.Popen(
        command("--rate", "50"),
        cwd=ROOT,
        bufsize=0,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert running.stdout is not None
    first = running.stdout.readline()
    running.send_signal(number)
    rest, errors = running.communicate(timeout=10)
    assert running.returncode == 128 + number
    lines = first + rest
    assert json.loads(errors)["lines"] == lines.count(b"\n") >= 1
    assert all(json.loads(line) for line in lines.splitlines())


@pytest.fixture
def kinesis_stream(aws: Any) -> str:
    name = f"producer-{uuid.uuid4().hex[:8]}"
    aws.client("kinesis").create_stream(StreamName=name, ShardCount=2)
    return name


def stored_in(aws: Any, stream: str) -> list[tuple[str, bytes]]:
    client, found = aws.client("kinesis"), []
    for shard in client.list_shards(StreamName=stream)["Shards"]:
        position = client.get_shard_iterator(
            StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while records := (page := client.get_records(ShardIterator=position))["Records"]:
            found += [(record["PartitionKey"], record["Data"]) for record in records]
            position = page["NextShardIterator"]
    return found


def test_kinesis_holds_every_line_in_the_order_of_its_identity(
    aws: Any, kinesis_stream: str, tmp_path: Path
) -> None:
    done = produce(
        "--sink", "kinesis", "--stream", kinesis_stream, "--spool", tmp_path, "--events", "4000",
        *WINDOW, endpoint=aws.endpoint,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    wanted: dict[str, list[bytes]] = defaultdict(list)
    for line in produce("--events", "4000", *WINDOW).stdout.splitlines(keepends=True):
        body = json.loads(line)
        wanted[body.get("user_id") or body["anonymous_id"]].append(line)
    found: dict[str, list[bytes]] = defaultdict(list)
    for identity, data in stored_in(aws, kinesis_stream):
        found[identity].append(data)
    assert found == wanted


def test_firehose_takes_every_line(aws: Any, bucket: str, tmp_path: Path) -> None:
    name = f"producer-{uuid.uuid4().hex[:8]}"
    aws.client("firehose").create_delivery_stream(
        DeliveryStreamName=name,
        DeliveryStreamType="DirectPut",
        ExtendedS3DestinationConfiguration={
            "RoleARN": "arn:aws:iam::000000000000:role/firehose",
            "BucketARN": f"arn:aws:s3:::{bucket}",
            "BufferingHints": {"SizeInMBs": 1, "IntervalInSeconds": 1},
        },
    )
    shared = ("--events", "3000", "--dirty", *WINDOW)
    done = produce(
        "--sink", "firehose", "--stream", name, "--spool", tmp_path, *shared, endpoint=aws.endpoint
    )
    assert done.returncode == 0, done.stderr
    wanted = Counter(produce(*shared).stdout.splitlines(keepends=True))
    s3, deadline, found = aws.client("s3"), time.monotonic() + 60, Counter[bytes]()
    while found.total() < wanted.total() and time.monotonic() < deadline:
        time.sleep(0.5)
        keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
        found = Counter(
            line
            for key in keys
            for line in s3.get_object(Bucket=bucket, Key=key)["Body"].read().splitlines(True)
        )
    assert found == wanted


@pytest.mark.parametrize("service", ["firehose", "kinesis"])
def test_a_stream_that_does_not_exist_is_one_sentence(
    aws: Any, service: str, tmp_path: Path
) -> None:
    done = produce(
        "--sink", service, "--stream", "nowhere", "--spool", tmp_path, endpoint=aws.endpoint
    )
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        f"producer: there is no {service} stream 'nowhere' on {aws.endpoint}"
    ]


class Flaky(BaseHTTPRequestHandler):
    """A Firehose that takes records, refuses or hangs, as ``mode`` says."""

    protocol_version = "HTTP/1.1"
    mode = "take"
    stored: list[bytes]
    attempted = threading.Event()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, answer = 200, {}
        if "Records" in body:
            self.attempted.set()
            if self.mode == "hang":
                time.sleep(20)
            if self.mode != "take":
                status, answer = 503, {"__type": "ServiceUnavailableException"}
            else:
                self.stored += [base64.b64decode(record["Data"]) for record in body["Records"]]
                entries = [{"RecordId": "r"}] * len(body["Records"])
                answer = {"FailedPutCount": 0, "RequestResponses": entries}
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def flaky() -> Any:
    handler = type("Handler", (Flaky,), {"stored": [], "attempted": threading.Event()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # a client that left is part of the test
    server.block_on_close = False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    handler.address = f"http://127.0.0.1:{server.server_address[1]}"
    yield handler
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("mode", ["hang", "refuse"])
def test_sigterm_spools_what_is_in_flight_within_ten_seconds_and_nothing_is_lost(
    flaky: Any, mode: str, tmp_path: Path
) -> None:
    flaky.mode = mode
    shared = ("--sink", "firehose", "--stream", "s", "--spool", tmp_path)
    running = subprocess.Popen(
        command(*shared, "--events", "50000", *WINDOW),
        cwd=ROOT,
        env=environment(flaky.address),
        stderr=subprocess.PIPE,
    )
    assert flaky.attempted.wait(30)
    started = time.monotonic()
    running.terminate()
    _, errors = running.communicate(timeout=15)
    assert time.monotonic() - started < 10
    assert running.returncode == 128 + signal.SIGTERM
    summary = json.loads(errors.splitlines()[0])
    assert summary["sent"] == 0 < summary["lines"] == summary["spooled"]
    assert b"--drain-only" in errors.splitlines()[-1]

    flaky.mode = "take"
    drained = produce(*shared, "--drain-only", endpoint=flaky.address)
    assert drained.returncode == 0, drained.stderr
    assert summary_of(drained)["drained"] == summary["lines"]
    assert summary_of(drained)["lines"] == 0
    wanted = produce("--events", "50000", *WINDOW).stdout.splitlines(keepends=True)
    assert Counter(flaky.stored) == Counter(wanted[: summary["lines"]])


def test_a_spool_that_is_full_says_how_to_go_on(flaky: Any, tmp_path: Path) -> None:
    flaky.mode = "refuse"
    shared = ("--sink", "firehose", "--stream", "s", "--spool", tmp_path, "--events", "9000")
    done = produce(
        *shared, *WINDOW, "--spool-limit", "1", "--patience", "0.1", endpoint=flaky.address
    )
    assert done.returncode == 1
    summary, lines = summary_of(done), done.stderr.decode().splitlines()[1:]
    assert summary["spooled"] == summary["lines"] > 500
    assert "is full" in lines[0]
    assert "--drain-only" in lines[1]
    assert f"{9000 - summary['events']} of 9000 events were not sent" in lines[2]

    flaky.mode = "take"
    again = lines[2].split("arguments and ")[1].split()
    rest = produce(*shared, *again, endpoint=flaky.address)
    assert rest.returncode == 0, rest.stderr
    wanted = produce("--events", "9000", *WINDOW).stdout.splitlines(keepends=True)
    assert Counter(flaky.stored) == Counter(wanted)


def test_a_producer_killed_while_it_spools_loses_no_line_it_kept(
    flaky: Any, tmp_path: Path
) -> None:
    flaky.mode = "refuse"
    shared = ("--sink", "firehose", "--stream", "s", "--spool", tmp_path)
    running = subprocess.Popen(
        command(*shared, "--events", "200000", *WINDOW, "--patience", "0.01"),
        cwd=ROOT,
        env=environment(flaky.address),
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    kept = tmp_path / "00000001.spool"
    while not (kept.exists() and kept.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    running.kill()
    running.wait(10)

    flaky.mode = "take"
    drained = produce(*shared, "--drain-only", endpoint=flaky.address)
    assert drained.returncode == 0, drained.stderr
    assert len(flaky.stored) == summary_of(drained)["drained"] > 0
    wanted = set(produce("--events", "200000", *WINDOW).stdout.splitlines(keepends=True))
    assert set(flaky.stored) <= wanted
    assert max(Counter(flaky.stored).values()) == 1
