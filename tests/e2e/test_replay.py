"""Law L8: once the code is mended, replaying the quarantine leaves a remainder of 0."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from datetime import date
from typing import Any

import pytest

from scripts.airflow_client import AirflowError, DagRun
from scripts.lake_digest import WHEN_WRITTEN, read_lake
from tests.e2e.conftest import DAG_ID, Pipeline, Row
from tests.e2e.test_pipeline import of_day, redshift_day, replaced_script

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(1800)]

REPLAY = "clickstream_replay_quarantine"
#: Only the first has lines with a key twice, which the mended code takes.
DOUBLE_KEYS, WITHOUT = date(2026, 9, 10), date(2026, 9, 11)
MENDED, OTHER = "DUP_KEY", "JSON_SYNTAX"


def put_day(pipeline: Pipeline, day: date, double_keys: int) -> None:
    head = f'"event_type":"view","user_id":"u","timestamp":"{day}T05:00'
    lines = [f'{{"event_id":"{day}-{n}",{head}:{n:02}Z"}}' for n in range(20)]
    lines += [f'{{"page":"/{n}","page":"/x",{head}:{n:02}Z"}}' for n in range(double_keys)]
    lines += ["{not json", '{"event_type":']
    key = f"clickstream/{day:year=%Y/month=%m/day=%d}/hour=06/part.gz"
    pipeline.put_raw({key: gzip.compress("\n".join([*lines, ""]).encode(), mtime=0)})


@pytest.fixture(scope="module")
def refused(pipeline: Pipeline) -> list[Row]:
    """The quarantine of both days, as the code of this checkout leaves it."""
    put_day(pipeline, DOUBLE_KEYS, double_keys=7)
    put_day(pipeline, WITHOUT, double_keys=0)
    for day in (DOUBLE_KEYS, WITHOUT):
        run = pipeline.run(day)
        assert run.state == "success", run.error
    return quarantine(pipeline)


def quarantine(pipeline: Pipeline, reason: str | None = None) -> list[Row]:
    """The rows of both days (of one reason, or of all), in an order of their own."""
    rows = pipeline.quarantine()
    found = [
        {name: value for name, value in row.items() if name != WHEN_WRITTEN}
        for row in of_day(rows, DOUBLE_KEYS) + of_day(rows, WITHOUT)
        if reason in (None, row["reason"])
    ]
    return sorted(found, key=lambda row: (row["source_object"], row["source_line"]))


def mended_package(pipeline: Pipeline) -> bytes:
    """The Glue package, but of two equal keys the last one counts."""
    key = f"{pipeline.config.prefixes.scripts}clickstream_glue.zip"
    answer = pipeline.aws.client("s3").get_object(Bucket=pipeline.config.buckets.artifacts, Key=key)
    package = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(answer["Body"].read())) as old,
        zipfile.ZipFile(package, "w") as new,
    ):
        for name in old.namelist():
            text = old.read(name).decode()
            if name.endswith("/events.py"):
                check = '        raise Rejected("DUP_KEY", name)\n'
                assert check in text
                text = text.replace(check, "        pass\n")
            new.writestr(name, text)
    return package.getvalue()


def replay(pipeline: Pipeline, reason: str) -> tuple[DagRun, dict[str, Any]]:
    """Run the DAG over both days; its end and its report."""
    form = {"reason": reason, "first_day": str(DOUBLE_KEYS), "last_day": str(WITHOUT)}
    run = pipeline.client().run(REPLAY, WITHOUT, form, timeout=600, report=print)
    assert run.state == "success", run.error
    path = f"/dags/{REPLAY}/dagRuns/{run.run_id}/taskInstances/publish_remainder/xcomEntries"
    report = pipeline.client().call("GET", f"{path}/return_value?stringify=false")["value"]
    assert report in saved_reports(pipeline)
    return run, report


def saved_reports(pipeline: Pipeline) -> list[dict[str, Any]]:
    s3, bucket = pipeline.aws.client("s3"), pipeline.config.buckets.results
    found = s3.list_objects_v2(Bucket=bucket, Prefix="quality/replay/").get("Contents", [])
    return [json.load(s3.get_object(Bucket=bucket, Key=item["Key"])["Body"]) for item in found]


def daily_runs(pipeline: Pipeline) -> list[str]:
    """The replayed days' runs of the daily DAG."""
    runs = pipeline.client().call("GET", f"/dags/{DAG_ID}/dagRuns?limit=1000")["dag_runs"]
    return sorted(
        r["dag_run_id"] for r in runs if r["dag_run_id"].startswith(f"replay__{DOUBLE_KEYS:%Y-%m}")
    )


def test_without_lines_of_the_reason_nothing_runs(pipeline: Pipeline, refused: list[Row]) -> None:
    run, report = replay(pipeline, "OVERSIZE")
    assert (report["before"], report["days"]) == (0, [])
    tasks = pipeline.client().call("GET", f"/dags/{REPLAY}/dagRuns/{run.run_id}/taskInstances")
    states = {task["task_id"]: task["state"] for task in tasks["task_instances"]}
    assert states["replay_day"] == "skipped"
    assert daily_runs(pipeline) == []


def test_unmended_code_leaves_identical_rows(pipeline: Pipeline, refused: list[Row]) -> None:
    before = everything(pipeline)
    _, report = replay(pipeline, MENDED)
    assert (report["before"], report["after"], report["mended"]) == (7, 7, 0)
    assert everything(pipeline) == before
    # The day without such lines is left alone.
    assert daily_runs(pipeline) == [f"replay__{DOUBLE_KEYS}"]


def everything(pipeline: Pipeline) -> tuple[Any, ...]:
    lake = read_lake(pipeline.config, pipeline.aws.client("s3"))
    return lake, redshift_day(pipeline, DOUBLE_KEYS), redshift_day(pipeline, WITHOUT)


def test_mended_code_leaves_a_remainder_of_zero(pipeline: Pipeline, refused: list[Row]) -> None:
    others = quarantine(pipeline, OTHER)
    with replaced_script(pipeline, mended_package(pipeline), "clickstream_glue.zip"):
        _, report = replay(pipeline, MENDED)
    assert (report["before"], report["after"], report["mended"]) == (7, 0, 7)
    day = str(DOUBLE_KEYS)
    assert report["days"] == [
        {"day": day, "reason": MENDED, "before": 7, "after": 0, "mended": 7},
        {"day": day, "reason": OTHER, "before": 2, "after": 2, "mended": 0},
    ]
    assert quarantine(pipeline, MENDED) == []
    assert quarantine(pipeline, OTHER) == others
    assert len(of_day(pipeline.facts(), DOUBLE_KEYS)) == 27
    assert len(redshift_day(pipeline, DOUBLE_KEYS)) == 27
    # The second replay of a day clears the first one's run.
    assert daily_runs(pipeline) == [f"replay__{DOUBLE_KEYS}"]


def test_days_in_the_wrong_order_are_one_sentence(pipeline: Pipeline) -> None:
    form = {"reason": "all", "first_day": str(WITHOUT), "last_day": str(DOUBLE_KEYS)}
    run = pipeline.client().run(REPLAY, DOUBLE_KEYS, form, timeout=300)
    assert run.state == "failed"
    assert run.error.startswith("count_quarantine: AirflowFailException: first_day 2026-09-11 lies")


@pytest.mark.parametrize("change", [{"reason": "UGLY"}, {"first_day": "yesterday"}])
def test_the_form_refuses_what_it_does_not_know(pipeline: Pipeline, change: dict[str, str]) -> None:
    form = {"reason": "all", "first_day": str(DOUBLE_KEYS), "last_day": str(WITHOUT), **change}
    with pytest.raises(AirflowError, match=next(iter(change))):
        pipeline.client().run(REPLAY, date(2026, 7, 12), form)
