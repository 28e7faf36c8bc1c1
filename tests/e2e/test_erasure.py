"""One person is erased from everywhere, stays erased through a replay, and nobody else is touched.

The scan is this file's own: bytes of the id in whatever can be read of an object, and text of it
in whatever a table can be cast to. It is seen to find the person before.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from typing import Any

import pyarrow.parquet as pq
import pytest

from scripts.lake_digest import WHEN_WRITTEN
from tests.e2e.conftest import Pipeline, Row

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(3000)]

DAYS = (date(2026, 7, 10), date(2026, 7, 11))
PERSON, BROWSER = "u-e7f3-to-erase", "a-e7f3-at-home"
#: A browser that somebody else uses too.
SHARED = "a-e7f3-library"
#: The person's id is a part of this one.
NEIGHBOUR = f"{PERSON}-not"


def click(number: int, day: date, **fields: Any) -> bytes:
    at = datetime(day.year, day.month, day.day, 6, tzinfo=UTC) + timedelta(minutes=number)
    event = {"event_id": f"erase-{number}", "event_type": "view", "timestamp": at.isoformat()}
    rest = {"page": "/p", "metadata": {"ref": f"r{number}"}}
    return json.dumps(fields | {k: fields.get(k, v) for k, v in (event | rest).items()}).encode()


def raw_objects() -> dict[str, bytes]:
    """Two arrival days: the person, his browser, others, copies and broken lines."""
    first, second = DAYS
    others = [click(n, first, user_id=f"u-other-{n % 5}") for n in range(40)]
    person = [click(100 + n, first, user_id=PERSON) for n in range(5)]
    lines = [
        *others[:20],
        *person,
        click(110, first, anonymous_id=BROWSER),
        b"",
        click(111, first, anonymous_id=BROWSER, user_id=PERSON),
        click(112, first, anonymous_id=SHARED, user_id=PERSON),
        click(113, first, anonymous_id=SHARED, user_id="u-other-1"),
        click(114, first, anonymous_id=SHARED),
        click(115, first, anonymous_id="a-stranger"),
        click(116, first, user_id=NEIGHBOUR),
        click(117, first, user_id=PERSON).replace(b"-to-", rb"\u002dto\u002d"),
        person[0],
        person[1][:-9],
        click(118, first, user_id=PERSON, timestamp="yesterday"),
        b'{"event_type":"view","user_id":"u-other-2"',
        b"\xef\xbb\xbf" + others[20] + b"\r",
    ]
    torn = gzip.compress(b"\n".join([*others[21:30], click(119, first, user_id=PERSON)]), mtime=0)
    late = [
        *others[30:],
        *(click(200 + n, second, user_id=PERSON) for n in range(3)),
        *(click(210 + n, second, user_id=f"u-other-{n}") for n in range(5)),
        person[2],
        others[3],
        click(120, first, user_id=PERSON),
        click(220, second, anonymous_id=BROWSER),
    ]
    folder = "clickstream/{:year=%Y/month=%m/day=%d}/hour={:02}/{}"
    return {
        folder.format(first, 6, "whole.gz"): gzip.compress(b"\n".join(lines) + b"\n", mtime=0),
        folder.format(first, 6, "torn.gz"): torn[:-12],
        folder.format(first, 7, "plain"): b"\n".join(others[:2] + person[:1]),
        folder.format(second, 6, "whole.gz"): gzip.compress(b"\n".join(late) + b"\n", mtime=0),
    }


def readable(body: bytes) -> bytes:
    """All that can be read of an object."""
    if body[:4] == b"PAR1":
        return str(pq.read_table(BytesIO(body)).to_pylist()).encode()
    text, rest = body, body
    while rest:
        member = zlib.decompressobj(31)
        try:
            text += member.decompress(rest)
        except zlib.error:
            break
        rest = member.unused_data
    return text


def stands(text: bytes, id: str) -> int:
    """How often an id stands there, the neighbour's left out."""
    return text.replace(NEIGHBOUR.encode(), b"").count(id.encode())


def scan(pipeline: Pipeline, id: str) -> Counter[str]:
    """Where an id is: in any version of any object, and in any table of the warehouse."""
    s3, found = pipeline.aws.client("s3"), Counter[str]()
    for bucket in vars(pipeline.config.buckets).values():
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            for item in page.get("Versions", []):
                place = {"Bucket": bucket, "Key": item["Key"], "VersionId": item["VersionId"]}
                count = stands(readable(s3.get_object(**place)["Body"].read()), id)
                found[f"{bucket}/{item['Key'].split('/')[0]}"] += count
    columns = pipeline.redshift(
        "SELECT table_name, column_name FROM svv_columns WHERE table_schema = 'clickstream'"
    )
    assert len(columns) > 20
    for table, column in columns:
        rows = pipeline.redshift(
            f"SELECT CAST({column} AS VARCHAR(65535)) FROM clickstream.{table} "
            f"WHERE strpos(CAST({column} AS VARCHAR(65535)), '{id}') > 0"
        )
        found[f"redshift/{table}"] += sum(stands(str(row).encode(), id) for row in rows)
    return +found


def others(rows: list[Row]) -> list[str]:
    """The rows of these days that name nobody to be erased, without what a re-run may change."""
    texts = []
    for row in rows:
        if row["arrived_at"].date() in DAYS:
            text = str({k: v for k, v in row.items() if k not in (WHEN_WRITTEN, "detail")})
            is_person = stands(text.encode(), PERSON) or rb"\u002dto" in text.encode()
            is_alone = BROWSER in text or (SHARED in text and "u-other-1" not in text)
            if not (is_person or is_alone or "u002dto" in text):
                texts.append(text)
    return sorted(texts)


def warehouse_of_others(pipeline: Pipeline) -> list[list[Any]]:
    return pipeline.redshift(
        "SELECT event_id, event_timestamp, user_id, anonymous_id, source_object, source_line "
        f"FROM clickstream.fact_clicks WHERE trunc(arrived_at) IN ('{DAYS[0]}', '{DAYS[1]}') "
        f"AND coalesce(user_id, '') <> '{PERSON}' AND coalesce(anonymous_id, '') <> '{BROWSER}' "
        f"AND (coalesce(anonymous_id, '') <> '{SHARED}' OR user_id = 'u-other-1') ORDER BY 1, 2"
    )


def ledgers(pipeline: Pipeline) -> dict[date, Row]:
    """The newest entry of each of the days."""
    rows = pipeline.lake(pipeline.config.buckets.processed, "lake/pipeline_runs/")
    newest = sorted(rows, key=lambda row: row["ended_at"])
    return {row["interval_start"].date(): row for row in newest}


def test_an_erased_person_is_nowhere_and_stays_away(pipeline: Pipeline) -> None:
    objects = raw_objects()
    pipeline.put_raw(objects)
    pipeline.put_raw(objects)  # where there are versions: an older one of each
    for day in DAYS:
        run = pipeline.run(day)
        assert run.state == "success", run.error
    leave_query_result(pipeline)

    before = {id: scan(pipeline, id) for id in (PERSON, BROWSER)}
    for place in ("raw", "processed", "errors", "results"):
        assert before[PERSON][f"clickstream-dev-{place}-000000000000/{FOLDER[place]}"] > 0, place
    assert before[PERSON]["redshift/fact_clicks"] > 0
    assert before[PERSON]["redshift/dim_users"] > 0
    assert before[BROWSER]["redshift/fact_clicks"] > 0
    facts, quarantine = others(pipeline.facts()), others(pipeline.quarantine())
    warehouse = warehouse_of_others(pipeline)
    assert len(facts) > 40
    assert len(quarantine) == 1
    old_ledgers = ledgers(pipeline)

    run = pipeline.erase(PERSON, DAYS[0])
    assert run.state == "success", run.error
    check(pipeline, facts, quarantine, warehouse)
    for day in DAYS:
        run = pipeline.run(day)
        assert run.state == "success", run.error
    check(pipeline, facts, quarantine, warehouse)
    new_ledgers = ledgers(pipeline)
    for day in DAYS:
        old, new = old_ledgers[day], new_ledgers[day]
        assert (new["line_count"], new["residual"]) == (old["line_count"], 0)
        assert new["erased_count"] > 0 == old["erased_count"]
        kinds = ("loaded", "duplicate", "quarantined", "blank", "erased")
        assert new["line_count"] == sum(new[f"{kind}_count"] for kind in kinds)
    assert sum(new_ledgers[day]["erased_count"] for day in DAYS) == 21
    check_proof(pipeline)

    # A producer's spool, sent late: old lines come back, and get no further than raw.
    key = next(key for key in objects if "/day=11/" in key)
    # Its name sorts last: of two copies the same line wins as before.
    pipeline.put_raw({key.replace("/whole", "/zz-again"): objects[key]})
    run = pipeline.run(DAYS[1])
    assert run.state == "success", run.error
    assert scan(pipeline, PERSON) == {"clickstream-dev-raw-000000000000/clickstream": 5}
    assert ledgers(pipeline)[DAYS[1]]["erased_count"] == 2 * 6
    run = pipeline.erase(PERSON, DAYS[0])
    assert run.state == "success", run.error
    check(pipeline, facts, quarantine, warehouse)


FOLDER = {
    "raw": "clickstream",
    "processed": "lake",
    "errors": "quarantine",
    "results": "athena",
}


def leave_query_result(pipeline: Pipeline) -> None:
    """Somebody asked Athena for the person."""
    athena = pipeline.aws.client("athena")
    query = athena.start_query_execution(
        QueryString="SELECT user_id, anonymous_id FROM clickstream.fact_clicks WHERE year = 2026",
        WorkGroup=pipeline.config.athena.workgroup,
    )["QueryExecutionId"]
    state = ""
    while state != "SUCCEEDED":
        status = athena.get_query_execution(QueryExecutionId=query)["QueryExecution"]["Status"]
        state = status["State"]
        assert state != "FAILED", status


def check(
    pipeline: Pipeline, facts: list[str], quarantine: list[str], warehouse: list[list[Any]]
) -> None:
    """Nothing of the person, all of the others."""
    for id in (PERSON, BROWSER):
        assert scan(pipeline, id) == Counter()
    assert others(pipeline.facts()) == facts
    assert others(pipeline.quarantine()) == quarantine
    assert warehouse_of_others(pipeline) == warehouse


def check_proof(pipeline: Pipeline) -> None:
    """The report says so, without naming anybody; nor do Airflow's logs."""
    s3, buckets = pipeline.aws.client("s3"), pipeline.config.buckets
    salt = s3.get_object(Bucket=buckets.artifacts, Key="tombstones/salt")["Body"].read().decode()
    digest = hashlib.sha256(f"{salt}:user:{PERSON}".encode()).hexdigest()
    key = f"erasures/{digest}/proof.json"
    report = json.load(s3.get_object(Bucket=buckets.results, Key=key)["Body"])
    assert report["is_erased"] is True
    assert report["left"] == {}
    assert report["days"] == [str(day) for day in DAYS]
    assert report["anonymous_count"] == 2
    assert report["before"]["raw/clickstream"]["count"] == 2 * 21
    assert report["before"]["redshift/fact_clicks"]["count"] > 0
    assert report["summary"].startswith("nothing is left of the person in ")
    client = pipeline.client()
    audit = client.call("GET", "/eventLogs?dag_id=clickstream_erase_user&limit=100")
    assert audit["total_entries"] > 0
    assert PERSON not in json.dumps(audit)
    logs = list((pipeline.airflow_home / "logs").rglob("*.log"))
    assert logs
    assert [path for path in logs if stands(path.read_bytes(), PERSON)] == []


def test_a_form_that_does_not_say_the_same_twice_changes_nothing(pipeline: Pipeline) -> None:
    run = pipeline.erase(PERSON, DAYS[1], confirm_user_id=NEIGHBOUR)
    assert run.state == "failed"
    assert run.error == (
        "check_request: AirflowFailException: "
        "confirm_user_id is not the same as user_id; type the id twice"
    )
