"""How many records a second Firehose takes and delivers; prints one JSON line.

``python tests/bench/bench_firehose.py --endpoint http://127.0.0.1:4566``
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import statistics
import threading
import time
import uuid
from itertools import pairwise
from pathlib import Path
from typing import Any

import boto3
import psutil
from botocore.config import Config

BATCH = 500
ROLE = "arn:aws:iam::000000000000:role/bench"


def main() -> None:
    """Put the records from a few threads, wait for the objects, count what arrived."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--endpoint", default=os.environ.get("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    )
    parser.add_argument("--records", type=int, default=1_000_000, help="at most (default 1000000)")
    parser.add_argument("--bytes", type=int, default=600, help="size of a record (default 600)")
    parser.add_argument("--threads", type=int, default=3)
    arguments = parser.parse_args()

    name = f"bench-{uuid.uuid4().hex[:8]}"
    firehose, s3 = client(arguments.endpoint, "firehose"), client(arguments.endpoint, "s3")
    s3.create_bucket(Bucket=name)
    firehose.create_delivery_stream(
        DeliveryStreamName=name,
        ExtendedS3DestinationConfiguration={
            "RoleARN": ROLE,
            "BucketARN": f"arn:aws:s3:::{name}",
            "CompressionFormat": "GZIP",
            "BufferingHints": {"SizeInMBs": 64, "IntervalInSeconds": 2},
        },
    )
    batches = max(arguments.records // BATCH, 10)
    bodies = [[{"Data": event(arguments.bytes)} for _ in range(BATCH)] for _ in range(20)]
    numbers = iter(range(batches))  # next() of it is atomic: the threads share it
    ends: list[float] = []

    def send() -> None:
        own = client(arguments.endpoint, "firehose")
        for number in numbers:
            answer = own.put_record_batch(
                DeliveryStreamName=name, Records=bodies[number % len(bodies)]
            )
            assert answer["FailedPutCount"] == 0, answer
            ends.append(time.perf_counter())

    started = time.perf_counter()
    threads = [threading.Thread(target=send) for _ in range(arguments.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sent = time.perf_counter() - started
    counts: dict[str, int] = {}
    while sum(counts.values()) < batches * BATCH and time.perf_counter() - started < 300:
        time.sleep(0.2)
        for item in s3.list_objects_v2(Bucket=name).get("Contents", []):
            if item["Key"] not in counts:
                body = s3.get_object(Bucket=name, Key=item["Key"])["Body"].read()
                counts[item["Key"]] = gzip.decompress(body).count(b"\n")
    assert sum(counts.values()) == batches * BATCH, counts
    # The rate in each tenth of the run.
    tenth = batches // 10
    marks = [started, *sorted(ends)[tenth - 1 :: tenth]]
    rates = [tenth * BATCH / (end - start) for start, end in pairwise(marks)]
    print(
        json.dumps(
            {
                "bench": "firehose",
                "records": batches * BATCH,
                "record_bytes": arguments.bytes,
                "threads": arguments.threads,
                "records_per_second": round(batches * BATCH / sent),
                "records_per_second_min": round(min(rates)),
                "records_per_second_median": round(statistics.median(rates)),
                "seconds_until_delivered": round(time.perf_counter() - started, 1),
                "objects": len(counts),
                "server_peak_mib": peak_mib(arguments.endpoint),
            }
        )
    )
    firehose.delete_delivery_stream(DeliveryStreamName=name)
    for key in counts:
        s3.delete_object(Bucket=name, Key=key)
    s3.delete_bucket(Bucket=name)


def peak_mib(endpoint: str) -> int | None:
    """The most memory the process behind the endpoint ever held; None where Linux does not tell."""
    port = int(endpoint.rpartition(":")[2])
    for connection in psutil.net_connections("tcp"):
        status = Path(f"/proc/{connection.pid}/status")
        if connection.status == "LISTEN" and connection.laddr.port == port and status.exists():
            found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
            return int(found[1]) >> 10 if found else None
    return None


def event(size: int) -> bytes:
    """A line of JSON of that size, about as compressible as a click event."""
    text = json.dumps({"event_id": str(uuid.uuid4()), "session_id": str(uuid.uuid4())})
    return (text[:-1] + ', "page_url": "' + "https://shop.example/p?" * size)[
        : size - 3
    ].encode() + (b'"}\n')


def client(endpoint: str, service: str) -> Any:
    """A client with a connection of its own."""
    return boto3.session.Session().client(
        service,
        region_name="us-east-1",
        endpoint_url=endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


if __name__ == "__main__":
    main()
