"""``python -m scripts.lake_digest``: the rows of every table of the lake, and a digest of them all.

Two lakes with the same rows have the same digest, however their files are cut and named. It reads
every object, so it is for lakes that one machine can read.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "plugins"))
from clickstream.config import Config  # noqa: E402
from clickstream.model_run import DAILY_TABLES, SNAPSHOTS  # noqa: E402

#: The one column that says when a row was written, not what it is.
WHEN_WRITTEN = "processed_timestamp"
_MODULUS = 1 << 256


def read_lake(names: Config, s3: Any) -> tuple[dict[str, int], str]:
    """The number of rows by table, and the digest.

    The ledgers (pipeline_runs, model_runs) are left out: they tell of runs, not of events.

    Args:
        names: the pipeline's names.
        s3: a boto3 client.
    """
    places = {
        name: (names.buckets.processed, f"{names.prefixes.lake}{name}/")
        for name in ("fact_clicks", *DAILY_TABLES, *SNAPSHOTS)
    }
    places["quarantine"] = (names.buckets.errors, names.prefixes.quarantine)
    counts, digest = {}, hashlib.sha256()
    with ProcessPoolExecutor() as pool:
        for name, (bucket, prefix) in places.items():
            objects = _objects(s3, bucket, prefix)
            # Sums do not hang on an order: neither of rows nor of files.
            found = list(pool.map(_sum_rows, *zip(*objects, strict=True))) if objects else []
            counts[name] = sum(count for count, _ in found)
            total = sum(value for _, value in found) % _MODULUS
            digest.update(f"{name} {counts[name]} {total:064x}\n".encode())
    return counts, digest.hexdigest()


def _objects(s3: Any, bucket: str, prefix: str) -> list[tuple[str, bytes]]:
    keys = _keys(s3, bucket, prefix)
    return [
        (key.removeprefix(prefix), s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        for key in keys
    ]


def _keys(s3: Any, bucket: str, prefix: str) -> Iterator[str]:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from (item["Key"] for item in page.get("Contents", ()))


def _sum_rows(key: str, body: bytes) -> tuple[int, int]:
    """How many rows an object has, and the sum of their hashes; its folders are columns."""
    import pyarrow.parquet as pq

    folders = dict(part.split("=", 1) for part in key.split("/")[:-1])
    rows = pq.ParquetFile(BytesIO(body)).read().to_pylist()
    total = 0
    for row in rows:
        values = {name: value for name, value in row.items() if name != WHEN_WRITTEN} | folders
        if "metadata" in values:  # a map's entries have no order
            values["metadata"] = sorted(values["metadata"] or ())
        text = json.dumps(values, default=str, sort_keys=True)
        total += int.from_bytes(hashlib.sha256(text.encode()).digest())
    return len(rows), total


def main() -> int:
    """Read the lake that the shell's settings name."""
    import boto3
    import botocore.exceptions

    try:
        counts, digest = read_lake(Config.from_environment(), boto3.client("s3"))
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        print(f"lake_digest: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"tables": counts, "digest": digest}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
