"""Compaction: the many small files of a partition become few large ones, and no row changes.

Nobody rebuilds a partition that a killed compaction left broken, as the clean job does with its
own. So new files are written where no reader looks and proven there; then a note names them and
the files they replace; then they are moved into place, and the old ones are deleted last. Whatever
a kill leaves, the note tells what to delete (`leftovers`), and the next run of this job or of the
clean job does it before anything else.
"""

from __future__ import annotations

import json
import math
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, MapType, StructType

from clickstream_glue import storage

PENDING: Final = "_pending/compact/"
QUARANTINE: Final = "quarantine"
TARGET_BYTES: Final = 256 << 20


class RowsChanged(RuntimeError):
    """What was rewritten is not what was there."""


@dataclass(frozen=True)
class CompactJob:
    """What one run is asked to do; paths are URIs that end in a slash; no tables means all."""

    lake_path: str
    quarantine_path: str
    job_name: str
    run_id: str
    tables: tuple[str, ...] = ()
    target_bytes: int = TARGET_BYTES


@dataclass(frozen=True)
class TableRun:
    """What one run did to a table."""

    table: str
    partition_count: int
    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int


class Rewrite(NamedTuple):
    """A partition's folder, its files with the bytes of each, and how many files suffice."""

    folder: str
    files: dict[str, int]
    file_count: int


def run(spark: SparkSession, job: CompactJob) -> list[TableRun]:
    """Compacts the tables, one partition after the other; returns what it did to each."""
    for name, value in {
        **storage.SPARK_SETTINGS,
        # Spark reads pieces of the size that the written files shall have.
        "spark.sql.files.maxPartitionBytes": str(job.target_bytes),
        "spark.sql.files.openCostInBytes": "0",
    }.items():
        spark.conf.set(name, value)
    roots = {name: job.lake_path for name in storage.folders_in(spark, job.lake_path)}
    folders = {name: f"{job.lake_path}{name}/" for name in roots}
    roots[QUARANTINE] = folders[QUARANTINE] = job.quarantine_path
    if unknown := [name for name in job.tables if name not in folders]:
        raise ValueError(
            f"there is no table {unknown[0]!r} to compact; there are {', '.join(sorted(folders))}"
        )
    for root in (job.lake_path, job.quarantine_path):
        heal(spark, root)
    return [
        _compact(spark, name, folders[name], f"{roots[name]}{PENDING}", job.target_bytes)
        for name in job.tables or sorted(folders)
    ]


def heal(spark: SparkSession, root: str) -> None:
    """Deletes what a killed compaction below `root` left, so that each row is there once."""
    for note in storage.sizes_in(spark, f"{root}{PENDING}notes/"):
        told = json.loads(storage.read_text(spark, note))
        there = storage.sizes_in(spark, told["folder"])
        storage.delete_files(spark, leftovers(told["old"], told["new"], there))
    storage.delete_folder(spark, f"{root}{PENDING}")


def plan(files: Mapping[str, int], target_bytes: int) -> Iterator[Rewrite]:
    """The partitions that have more files than their bytes need."""
    folders: dict[str, dict[str, int]] = defaultdict(dict)
    for file, size in files.items():
        folders[file.rpartition("/")[0] + "/"][file] = size
    for folder, found in sorted(folders.items()):
        file_count = max(1, math.ceil(sum(found.values()) / target_bytes))
        if len(found) > file_count:
            yield Rewrite(folder, found, file_count)


def leftovers(old: Collection[str], new: Collection[str], there: Collection[str]) -> list[str]:
    """Which files a killed rewrite must lose.

    With all new files in place they stand for the old ones. With one of them missing no old file
    has been deleted, so the old ones stand; or another job has rebuilt the partition since and
    deleted what it saw, and then what is left of either is too much.
    """
    lost = old if set(new) <= set(there) else new
    return sorted(set(lost) & set(there))


def digest(rows: DataFrame) -> tuple[int, int]:
    """The count of the rows and a hash of all their columns, whatever their order."""
    # The hash skips nulls, within a value too, and does not take maps.
    columns = [
        F.col(f"`{field.name}`").cast("string")
        if isinstance(field.dataType, ArrayType | MapType | StructType)
        else F.col(f"`{field.name}`")
        for field in rows.schema.fields
    ]
    flags = [column.isNull() for column in columns]
    of_row = F.xxhash64(*columns, *flags)
    # Long enough that a sum of any lake's rows is exact.
    total = F.sum(of_row.cast("decimal(38,0)"))
    count, found = rows.agg(F.count(F.lit(1)), total).collect()[0]
    return count, int(found or 0)


def _compact(
    spark: SparkSession, table: str, folder: str, pending: str, target_bytes: int
) -> TableRun:
    # A killed job's files that were never part of the table; no job writes while this one runs.
    storage.delete_folder(spark, f"{folder}_temporary/")
    before = storage.sizes_in(spark, folder)
    rewrites = list(plan(before, target_bytes))
    for rewrite in rewrites:
        _rewrite(spark, rewrite, pending)
    after = storage.sizes_in(spark, folder)
    return TableRun(
        table=table,
        partition_count=len(rewrites),
        files_before=len(before),
        files_after=len(after),
        bytes_before=sum(before.values()),
        bytes_after=sum(after.values()),
    )


def _rewrite(spark: SparkSession, rewrite: Rewrite, pending: str) -> None:
    name, old = uuid.uuid4().hex, sorted(rewrite.files)
    staged = f"{pending}{name}/"
    # Files of an older contract lack its newer columns: those are null in them, as for any reader.
    rows = spark.read.option("mergeSchema", "true").parquet(*old)
    storage.append(rows.coalesce(rewrite.file_count), staged, [])
    made = storage.files_in(spark, staged, [""])
    _prove(spark, rewrite.folder, rows, made)

    new = {file: rewrite.folder + file.rpartition("/")[2] for file in made}
    # A note is there whole or not at all: Hadoop's file systems may show a file half written.
    told = {"folder": rewrite.folder, "old": old, "new": sorted(new.values())}
    draft, note = f"{pending}notes/_{name}.json", f"{pending}notes/{name}.json"
    storage.write_text(spark, draft, json.dumps(told))
    storage.rename(spark, draft, note)
    for source, target in new.items():
        storage.rename(spark, source, target)
    there = storage.files_in(spark, rewrite.folder, [""])
    if there != sorted([*old, *new.values()]):
        raise RowsChanged(
            f"another job writes to {rewrite.folder}, whose files were kept; compaction wants the "
            "lake for itself, so wait for that job and run it again"
        )
    storage.delete_files(spark, old)
    # Not with the others: as long as one of them is there, the note must be.
    storage.delete_files(spark, [note])
    storage.delete_folder(spark, staged)


def _prove(spark: SparkSession, folder: str, rows: DataFrame, made: list[str]) -> None:
    """Fails unless the files that were made hold the same rows, in columns of the same types."""
    again = spark.read.parquet(*made)
    if again.schema != rows.schema or (was := digest(rows)) != (now := digest(again)):
        found = "columns" if again.schema != rows.schema else f"rows: {was} became {now}"
        raise RowsChanged(f"rewriting {folder} changed its {found}; its old files were kept")
