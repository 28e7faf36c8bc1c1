"""Compaction: fewer files, the same rows, whatever is killed and wherever."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from clickstream_contract import contract as c
from clickstream_glue import compaction, storage
from clickstream_glue.compaction import CompactJob, Rewrite, RowsChanged, TableRun, leftovers, plan
from pyspark.sql import SparkSession

from tests.glue import test_clean

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
HOURS = ["year=2026/month=11/day=20/hour=7", "year=2026/month=11/day=20/hour=8"]


class Killed(BaseException):
    """The process is gone: nothing that would tidy up after an error may run."""


class Lake:
    """Two tables of many small files, and the quarantine, in one folder."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark, self.folder = spark, folder

    def put(self, table: str, partition: str, rows: list[tuple[Any, ...]], schema: str) -> None:
        """Adds one file."""
        frame = self.spark.createDataFrame(rows, schema).coalesce(1)
        storage.append(frame, f"file:{self.folder}/{table}/{partition}", [])

    def run(self, **options: Any) -> dict[str, TableRun]:
        """Runs the job; what it did, by table."""
        job = CompactJob(
            lake_path=f"file:{self.folder}/lake/",
            quarantine_path=f"file:{self.folder}/quarantine/",
            job_name="compact",
            run_id="run",
            **options,
        )
        return {run.table: run for run in compaction.run(self.spark, job)}

    def files(self) -> list[str]:
        """Every file that is not a checksum, hidden ones too."""
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return sorted(str(path.relative_to(self.folder)) for path in found if path.suffix != ".crc")

    def rows(self) -> dict[str, list[str]]:
        """The rows of each partition as a reader finds them, in an order of their own."""
        found: dict[str, list[str]] = {}
        for name in self.files():
            if name.endswith(".parquet") and "/_" not in name:
                rows = pq.ParquetFile(self.folder / name).read().to_pylist()
                partition = found.setdefault(name.rpartition("/")[0], [])
                partition += (json.dumps(row, default=str, sort_keys=True) for row in rows)
        return {partition: sorted(rows) for partition, rows in found.items()}


def fact(number: int) -> tuple[Any, ...]:
    """An event with a null, a map with a null, a decimal and microseconds."""
    time = datetime(2026, 11, 20, 7, 0, number % 60, 123456, UTC)
    head = (f"e{number}", False, "view", "browse", time, f"u{number % 3}", *[None] * 10)
    price = (Decimal("19.9900") + number, number, "USD", None, None, None, None, False, False)
    place = (number, time, "key", number, time)
    return (*head, *price, {"b": None, "a": f"ä\u2028{number}"}, *place)


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Lake:
    lake = Lake(spark, tmp_path)
    for number, hour in enumerate([*HOURS, HOURS[0], HOURS[0]]):
        # One row comes twice: a copy that compaction must neither lose nor add.
        rows = [fact(10 * number + n) for n in (0, 0, 1, 2)]
        lake.put("lake/fact_clicks", hour, rows, c.FACT_SCHEMA)
    for number in range(2):
        time = datetime(2026, 11, 20, 7, tzinfo=UTC)
        row = ("UTF8", None, b"\xff\x00" + bytes([number]), "key", number, time, time)
        lake.put("quarantine", "day=2026-11-20", [row], c.QUARANTINE_SCHEMA)
    return lake


def test_only_partitions_with_more_files_than_their_bytes_need_are_rewritten() -> None:
    files = {
        "t/a/1": 10 * MIB,
        "t/a/2": 10 * MIB,
        "t/b/1": 256 * MIB,
        "t/b/2": 1,
        "t/c/1": 100 * MIB,
        "t/c/2": 100 * MIB,
        "t/c/3": 100 * MIB,
        "t/d/1": 1,
        "t/e/1": 0,
        "t/e/2": 0,
    }
    assert [(rewrite.folder, rewrite.file_count) for rewrite in plan(files, 256 * MIB)] == [
        ("t/a/", 1),
        ("t/c/", 2),
        ("t/e/", 1),
    ]
    assert list(plan({}, 256 * MIB)) == []
    (only,) = plan({"t/a/2": 3, "t/a/1": 4}, 7)
    assert only == Rewrite("t/a/", {"t/a/1": 4, "t/a/2": 3}, 1)


@pytest.mark.parametrize(
    ("there", "lost"),
    [
        (["o1", "o2"], []),  # killed before the first move
        (["o1", "o2", "n1"], ["n1"]),  # between two moves
        (["o1", "o2", "n1", "n2"], ["o1", "o2"]),  # after the moves
        (["o2", "n1", "n2"], ["o2"]),  # in the middle of the deletes
        (["n1", "n2"], []),  # after them
        (["x"], []),  # the clean job has rebuilt the partition since
        (["x", "o1", "n2"], ["n2"]),  # and was killed, too: its next run drops o1
    ],
)
def test_what_a_killed_rewrite_must_lose(there: list[str], lost: list[str]) -> None:
    assert leftovers(["o1", "o2"], ["n1", "n2"], there) == lost


def test_each_partition_becomes_one_file_with_the_same_rows(lake: Lake) -> None:
    before = lake.rows()
    assert sum(map(len, before.values())) == 18
    done = lake.run()
    assert lake.rows() == before
    assert (done["fact_clicks"].files_before, done["fact_clicks"].files_after) == (4, 2)
    assert done["fact_clicks"].partition_count == 1
    assert (done["quarantine"].files_before, done["quarantine"].files_after) == (2, 1)
    assert len(lake.files()) == 3
    schema = pq.read_schema(lake.folder / lake.files()[0])
    assert str(schema.field("price").type) == "decimal128(18, 4)"
    assert "year" not in schema.names


def test_a_second_run_writes_nothing(lake: Lake) -> None:
    lake.run()
    files = lake.files()
    assert {run.partition_count for run in lake.run().values()} == {0}
    assert lake.files() == files


def test_only_the_tables_that_are_named_are_rewritten(lake: Lake) -> None:
    assert lake.run(tables=("quarantine",)).keys() == {"quarantine"}
    assert len(lake.files()) == 5
    with pytest.raises(ValueError, match=r"no table 'facts' to compact; there are fact_clicks, qu"):
        lake.run(tables=("facts",))


def test_large_partitions_keep_several_files(lake: Lake) -> None:
    rows = [fact(number) for number in range(3000)]
    for part in range(4):
        lake.put("lake/fact_clicks", HOURS[1], rows[part::4], c.FACT_SCHEMA)
    before, folder = lake.rows(), lake.folder / "lake/fact_clicks" / HOURS[1]
    size = sum(path.stat().st_size for path in folder.glob("*.parquet"))
    lake.run(target_bytes=size // 2 + 1)
    assert lake.rows() == before
    sizes = [path.stat().st_size for path in folder.glob("*.parquet")]
    assert len(sizes) == 2
    assert max(sizes) < 0.6 * size


def test_a_file_without_a_newer_column_joins_those_that_have_it(lake: Lake) -> None:
    lake.put("lake/dim", "day=1", [(1,)], "a int")
    lake.put("lake/dim", "day=1", [(2, "x")], "a int, b string")
    lake.run(tables=("dim",))
    assert lake.rows()["lake/dim/day=1"] == ['{"a": 1, "b": null}', '{"a": 2, "b": "x"}']


def test_the_digest_sees_every_change_but_the_order(spark: SparkSession) -> None:
    schema = "a string, b string, c map<string,string>, d array<string>"
    rows = [("x", None, {"k": None}, [None, "y"]), ("x", "z", None, [])]

    def digest(rows: list[Any]) -> tuple[int, int]:
        return compaction.digest(spark.createDataFrame(rows, schema))

    assert digest(rows) == digest(rows[::-1])
    assert digest([]) == (0, 0)
    for change in (
        [(None, "x", {"k": None}, [None, "y"]), rows[1]],
        [("x", None, {}, [None, "y"]), rows[1]],
        [("x", None, {"k": None}, ["y", None]), rows[1]],
        [("x", None, {"k": None}, [None, "y"]), ("x", "z", None, None)],
        [rows[0], rows[0]],
        [*rows, rows[0]],
    ):
        assert digest(change) != digest(rows), change


Breaking = Callable[[Callable[..., Any]], Callable[..., Any]]


def losing_a_row(append: Callable[..., Any]) -> Callable[..., Any]:
    return lambda rows, *rest: append(rows.limit(rows.count() - 1), *rest)


def doubling_one_row_for_another(append: Callable[..., Any]) -> Callable[..., Any]:
    return lambda rows, *rest: append(
        rows.limit(1).union(rows.limit(rows.count() - 1)).coalesce(1), *rest
    )


def changing_a_type(append: Callable[..., Any]) -> Callable[..., Any]:
    return lambda rows, *rest: append(
        rows.withColumn("source_line", rows["source_line"].cast("int")), *rest
    )


def forgetting_a_null(append: Callable[..., Any]) -> Callable[..., Any]:
    def broken(rows: Any, *rest: Any) -> None:
        entries = "map_filter(metadata, (name, value) -> value IS NOT NULL) AS metadata"
        others = [name for name in rows.columns if name != "metadata"]
        append(rows.selectExpr(*others, entries).select(rows.columns), *rest)

    return broken


@pytest.mark.parametrize(
    "breaking", [losing_a_row, doubling_one_row_for_another, changing_a_type, forgetting_a_null]
)
def test_a_rewrite_that_changes_something_fails_and_keeps_the_old_files(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, breaking: Breaking
) -> None:
    before, files = lake.rows(), lake.files()
    monkeypatch.setattr(storage, "append", breaking(storage.append))
    with pytest.raises(RowsChanged, match="its old files were kept"):
        lake.run(tables=("fact_clicks",))
    monkeypatch.undo()
    assert lake.rows() == before
    assert [file for file in lake.files() if "/_" not in file] == files
    lake.run()
    assert lake.rows() == before
    assert len(lake.files()) == 3


STEPS = ("append", "write_text", "rename", "delete_files", "delete_folder")


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """The step that is reached as the `step`th ends in its middle, as the whole run then does.

    A move ends as S3 may leave it: copied, and not yet deleted.
    """
    left = itertools.count(step, -1)

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any) -> None:
            if next(left) != 0:
                real(*arguments)
                return
            if name == "delete_files":
                real(arguments[0], list(arguments[1])[::2])
            if name == "rename":
                source, target = (path.removeprefix("file:") for path in arguments[1:])
                Path(target).parent.mkdir(exist_ok=True, parents=True)
                shutil.copy(source, target)
            raise Killed(name)

        return wrapped

    for name in STEPS:
        monkeypatch.setattr(storage, name, wrap(name, getattr(storage, name)))


def killed_runs(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Kills one run after the other, each a step later, until one ends; the steps it died at."""
    died_at = []
    for step in range(100):
        with monkeypatch.context() as patch:
            kill_at(patch, step)
            try:
                lake.run()
            except Killed as killed:
                died_at.append(str(killed))
            else:
                return died_at
    raise AssertionError("no run ended")


def test_whatever_step_is_killed_the_next_run_heals(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The folder is put back between the runs, so that each dies in the same work.
    before, backup = lake.rows(), lake.folder.with_name("backup")
    shutil.copytree(lake.folder, backup)
    died_at, doubled = [], 0
    for step in range(100):
        with monkeypatch.context() as patch:
            kill_at(patch, step)
            try:
                lake.run()
            except Killed as killed:
                died_at.append(str(killed))
            else:
                break
        doubled += lake.rows() != before
        lake.run()
        assert lake.rows() == before, died_at[-1]
        assert len(lake.files()) == 3, died_at[-1]
        shutil.rmtree(lake.folder)
        shutil.copytree(backup, lake.folder)
    assert set(died_at) == set(STEPS)
    # Else no kill has ever hurt, and nothing was healed.
    assert doubled >= 3


def test_runs_that_are_killed_one_after_the_other_lose_nothing(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = lake.rows()
    assert len(killed_runs(lake, monkeypatch)) > 5
    assert lake.rows() == before
    assert len(lake.files()) == 3


def test_a_clean_run_heals_before_it_reads(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = test_clean.Lake(spark, tmp_path)
    for number, (hour, _) in enumerate(test_clean.HOURS):
        clean.put(hour, f"ok-{number}.gz", b"\n".join(test_clean.dirty_lines(number, 40)))
    clean.run(*test_clean.WHOLE)
    lake = Lake(spark, tmp_path)
    for path in list((tmp_path / "lake" / "fact_clicks").rglob("*.parquet")):
        table = pq.read_table(path, partitioning=None)
        half = table.num_rows // 2
        pq.write_table(table.slice(half), path.with_name("half.parquet"))
        pq.write_table(table.slice(0, half), path)
        path.with_name(f".{path.name}.crc").unlink()
    rows = fact_rows(lake)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "delete_files", raise_killed)
        with pytest.raises(Killed):
            lake.run(tables=("fact_clicks",))
    assert fact_rows(lake) != rows  # those of an hour lie there twice
    # An interval without input touches no hour, so only the healing can mend.
    empty = datetime(2026, 1, 1, tzinfo=UTC)
    clean.run(empty, empty.replace(hour=1))
    assert fact_rows(lake) == rows


def fact_rows(lake: Lake) -> dict[str, list[str]]:
    return {name: rows for name, rows in lake.rows().items() if "fact_clicks" in name}


def raise_killed(*_: Any) -> None:
    raise Killed


def test_files_that_are_not_in_place_yet_are_no_part_of_the_table(
    spark: SparkSession, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = f"file:{lake.folder}/quarantine/"
    before = storage.files_in(spark, root, [""])
    with monkeypatch.context() as patch:
        patch.setattr(storage, "rename", raise_killed)
        with pytest.raises(Killed):
            lake.run(tables=("quarantine",))
    assert [name for name in lake.files() if "quarantine/_pending" in name and "parquet" in name]
    assert storage.files_in(spark, root, [""]) == before


def test_a_writer_beside_it_is_noticed_and_nothing_is_deleted(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = storage.rename

    def rename_beside_a_writer(spark: SparkSession, source: str, target: str) -> None:
        rename(spark, source, target)
        if "fact_clicks" in target:
            monkeypatch.undo()
            lake.put("lake/fact_clicks", HOURS[0], [fact(99)], c.FACT_SCHEMA)

    monkeypatch.setattr(storage, "rename", rename_beside_a_writer)
    before = lake.rows()
    with pytest.raises(RowsChanged, match=r"another job writes to .*hour=7"):
        lake.run(tables=("fact_clicks",))
    lake.run()
    after = lake.rows()
    hour = f"lake/fact_clicks/{HOURS[0]}"
    assert len(after.pop(hour)) == len(before.pop(hour)) + 1
    assert after == before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "the following arguments are required: --lake-path, --quarantine-path"),
        (
            ["--lake-path", "/l", "--quarantine-path", "/q", "--target-bytes", "0"],
            "argument --target-bytes: '0' is no whole number above 0",
        ),
    ],
)
def test_a_bad_argument_gets_one_sentence(arguments: list[str], sentence: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "glue" / "compact_lake.py", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == f"compact_lake: {sentence}\n"
