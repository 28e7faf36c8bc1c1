"""How many events a second the collector's handler takes, beside a handler that only answers.

As many processes as there are cores invoke the handler with requests of ten events, as API
Gateway would; a real stream of the embedded AWS takes the lines. Afterwards the stream is read: it
must hold each event once. Prints one JSON line.

``python tests/bench/bench_collector.py --endpoint http://127.0.0.1:4566``
"""

from __future__ import annotations

import argparse
import base64
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import boto3

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "glue")]
EVENTS_A_REQUEST = 10
BAR_EVENTS_PER_SECOND = 6_000


def main() -> int:
    """Measure both handlers, run by run in turn; the exit code is 1 when the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--endpoint", default=os.environ.get("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    )
    parser.add_argument("--events", type=int, default=40_000, help="a run (default 40000)")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    workers = os.cpu_count() or 1
    os.environ |= {
        "AWS_ENDPOINT_URL": arguments.endpoint,
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_DEFAULT_REGION": "us-east-1",
        "STREAM": f"bench-{uuid.uuid4().hex[:8]}",
    }
    kinesis = boto3.client("kinesis")
    kinesis.create_stream(StreamName=os.environ["STREAM"], ShardCount=2)
    requests = make_requests(arguments.events)
    rates: dict[str, list[float]] = {"collector": [], "echo": []}
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        parts = [requests[n::workers] for n in range(workers)]
        for name in rates:  # imports and connections are not what is measured
            pool.starmap(invoke, [(name, part[:1]) for part in parts], chunksize=1)
        for _ in range(arguments.runs):
            for name, measured in rates.items():
                started = time.perf_counter()
                pool.starmap(invoke, [(name, part) for part in parts], chunksize=1)
                measured.append(arguments.events / (time.perf_counter() - started))
    wanted = arguments.runs * arguments.events + workers * EVENTS_A_REQUEST
    found = count_records(kinesis)
    kinesis.delete_stream(StreamName=os.environ["STREAM"])
    median = {name: statistics.median(measured) for name, measured in rates.items()}
    report = {
        "bench": "collector",
        "events_a_request": EVENTS_A_REQUEST,
        "processes": workers,
        "bar": BAR_EVENTS_PER_SECOND,
        **{f"{name}_median": round(rate) for name, rate in median.items()},
        **{f"{name}_min": round(min(measured)) for name, measured in rates.items()},
        "ratio": round(median["collector"] / median["echo"], 3),
        "events": wanted,
        "in_stream": found,
    }
    print(json.dumps(report))
    return 0 if median["collector"] >= BAR_EVENTS_PER_SECOND and found == wanted else 1


def make_requests(events: int) -> list[dict[str, Any]]:
    """API Gateway's requests with the events of a seeded shop, ten each."""
    lines = subprocess.run(
        [
            *(sys.executable, "-m", "producer", "--sink", "stdout", "--seed", "5"),
            *("--events", str(events), "--start", "2026-03-02"),
        ],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.splitlines()
    bodies = (
        b"[" + b",".join(lines[start : start + EVENTS_A_REQUEST]) + b"]"
        for start in range(0, len(lines), EVENTS_A_REQUEST)
    )
    return [
        {
            "httpMethod": "POST",
            "path": "/events",
            "headers": {"Content-Type": "application/json", "User-Agent": "bench"},
            "queryStringParameters": None,
            "requestContext": {"identity": {"sourceIp": "203.0.113.77"}},
            "body": base64.b64encode(body).decode(),
            "isBase64Encoded": True,
        }
        for body in bodies
    ]


def invoke(name: str, requests: list[dict[str, Any]]) -> None:
    """Invoke a handler with each request; every event must be accepted."""
    from lambdas.collector.handler import handle

    handler = handle if name == "collector" else echo
    for request in requests:
        answer = handler(request, None)
        assert answer["statusCode"] == 202, answer
        assert json.loads(answer["body"])["accepted"] == EVENTS_A_REQUEST, answer


def echo(request: dict[str, Any], context: object) -> dict[str, Any]:
    """The least that a collector could do: read the body as JSON and count."""
    events = json.loads(base64.b64decode(request["body"]))
    return {"statusCode": 202, "headers": {}, "body": json.dumps({"accepted": len(events)})}


def count_records(kinesis: Any) -> int:
    """How many records the stream holds."""
    count, stream = 0, os.environ["STREAM"]
    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        iterator = kinesis.get_shard_iterator(
            StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while records := (answer := kinesis.get_records(ShardIterator=iterator))["Records"]:
            count += len(records)
            iterator = answer["NextShardIterator"]
    return count


if __name__ == "__main__":
    sys.exit(main())
