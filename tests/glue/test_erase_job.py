"""The erasing job over real buckets: versions, a kill half-way, a second time, a second region.

Spark only shares out the objects; here one process takes all of them (tests/e2e has Spark).
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clickstream_glue import erase as job_module
from clickstream_glue import object_versions
from clickstream_glue.erase import EraseJob, Place, erase, prove
from clickstream_glue.tombstones import ANONYMOUS, ERASED_LINE, USER, digest

from tests.conftest import EmbeddedAws

SALT = "5a17"
ANN = digest(SALT, USER, b"ann")
DAY = "clickstream/year=2026/month=11/day={}/hour=22/{}"


class OneProcess:
    """As much of a Spark session as the job asks for."""

    defaultParallelism = 1

    def __init__(self) -> None:
        self.sparkContext = self

    def parallelize(self, items: list[Any], tasks: int) -> OneProcess:
        assert tasks >= 1
        self._items = items
        return self

    def mapPartitions(self, work: Callable[[Iterable[Any]], Iterable[Any]]) -> OneProcess:
        self._items = list(work(self._items))
        return self

    def collect(self) -> list[Any]:
        return self._items


def line(**fields: Any) -> bytes:
    return json.dumps(
        {"event_type": "view", "timestamp": "2026-11-20T21:00:00Z", **fields}
    ).encode()


def parquet(rows: pa.Table) -> bytes:
    body = io.BytesIO()
    pq.write_table(rows, body)
    return body.getvalue()


class Lake:
    """Buckets of its own in the embedded AWS, and the job's orders for them."""

    def __init__(self, aws: EmbeddedAws, name: str) -> None:
        self.s3 = aws.client("s3")
        parts = ("raw", "artifacts", "results", "processed")
        places = [Place(part, f"{name}-{part}", aws.region) for part in parts]
        places.append(Place("raw-replica", f"{name}-raw-replica", "us-west-2"))
        for place in places:
            self.s3.create_bucket(Bucket=place.bucket)
            self.s3.put_bucket_versioning(
                Bucket=place.bucket, VersioningConfiguration={"Status": "Enabled"}
            )
        self.job = EraseJob(
            user=ANN,
            is_with_anonymous=True,
            places=tuple(places),
            raw_prefix="clickstream/",
            delivery_errors_prefix="firehose/",
            tombstones_prefix="tombstones/",
            erasures_prefix="erasures/",
            run_id="jr_1",
        )
        self.put("artifacts", "tombstones/salt", SALT.encode())

    def put(self, part: str, key: str, body: bytes, **more: Any) -> None:
        self.s3.put_object(Bucket=self.job.place(part).bucket, Key=key, Body=body, **more)

    def bodies(self, part: str) -> dict[str, list[bytes]]:
        """Every version's bytes by key, the current one first."""
        bucket, found = self.job.place(part).bucket, {}
        for version in object_versions.list_versions(self.s3, bucket):
            body = self.s3.get_object(Bucket=bucket, Key=version.key, VersionId=version.id)["Body"]
            found.setdefault(version.key, []).append(body.read())
        return found

    def erase(self, run_id: str = "jr_1") -> dict[str, Any]:
        return erase(OneProcess(), replace(self.job, run_id=run_id))  # type: ignore[arg-type]

    def prove(self) -> dict[str, Any]:
        return prove(OneProcess(), self.job)  # type: ignore[arg-type]


@pytest.fixture
def lake(aws: EmbeddedAws, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """Ann and others, over two days, with old versions."""
    for name, value in (
        ("AWS_ENDPOINT_URL", aws.endpoint),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ):
        monkeypatch.setenv(name, value)
    lake = Lake(aws, bucket)
    his = [line(user_id="ann", anonymous_id="b-1"), line(anonymous_id="b-1")]
    content = b"\n".join([line(user_id="bob"), *his])
    for part in ("raw", "raw-replica"):
        for _ in range(2):
            lake.put(part, DAY.format(19, "part.gz"), gzip.compress(content))
        lake.put(part, DAY.format(20, "part"), his[1])
        lake.put(part, DAY.format(20, "other"), line(user_id="bob"))
        lake.put(part, DAY.format(20, "was"), his[0])
        lake.put(part, DAY.format(20, "was"), line(user_id="bob"))
    lake.put("results", "athena/1.csv", b'"user_id"\n"ann"\n')
    lake.put("results", "athena/2.csv", b'"user_id"\n"bob"\n')
    lake.put("artifacts", "glue/job.py", b"")
    return lake


def test_every_version_loses_the_person_and_nobody_else(lake: Lake) -> None:
    plan = lake.erase()
    assert plan["days"] == ["2026-11-19", "2026-11-20"]
    assert plan["anonymous"] == [digest(SALT, ANONYMOUS, b"b-1")]
    assert plan["before"]["raw/clickstream"] == {"versions": 4, "count": 6, "values": 3}
    for part in ("raw", "raw-replica"):
        bodies = lake.bodies(part)
        (whole,) = bodies[DAY.format(19, "part.gz")]
        assert gzip.decompress(whole).split(b"\n") == [line(user_id="bob"), *[ERASED_LINE] * 2]
        assert bodies[DAY.format(20, "part")] == [ERASED_LINE]
        assert bodies[DAY.format(20, "other")] == bodies[DAY.format(20, "was")]
    assert list(lake.bodies("results")) == ["athena/2.csv", f"erasures/{ANN}/plan.json"]
    kept = {key for key in lake.bodies("artifacts") if key.startswith("tombstones/")}
    assert kept == {
        "tombstones/salt",
        f"tombstones/user/{ANN}",
        f"tombstones/anonymous/{plan['anonymous'][0]}",
    }
    proof = lake.prove()
    assert (proof["left"], proof["plan"]) == ({}, "jr_1")
    assert len(proof["buckets"]) == 5


def test_without_the_browsers_only_events_of_the_login_go(lake: Lake) -> None:
    lake.job = replace(lake.job, is_with_anonymous=False)
    plan = lake.erase()
    assert plan["anonymous"] == []
    assert lake.bodies("raw")[DAY.format(20, "part")] == [line(anonymous_id="b-1")]
    assert lake.prove()["left"] == {}


def test_a_browser_that_others_use_may_stand_in_later_results_and_no_other_may(lake: Lake) -> None:
    lake.put("raw", DAY.format(20, "shared"), line(user_id="ann", anonymous_id="b-2"))
    rows = pa.table({"anonymous_id": ["b-2", "b-3"], "user_id": ["bob", "bob"]})
    lake.put("processed", "lake/identities_daily/day=2026-11-20/part.parquet", parquet(rows))
    lake.erase()
    lake.put("results", "athena/3.csv", b'"anonymous_id","user_id"\n"b-2","bob"\n')
    assert lake.prove()["left"] == {}
    lake.put("results", "athena/4.csv", b'"anonymous_id"\n"b-1"\n')
    assert lake.prove()["left"] == {"results/athena": {"versions": 1, "count": 1, "values": 0}}


def test_a_kill_half_way_loses_no_day_and_the_next_try_ends_it(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = job_module._take_out, iter(range(3))

    def killed(*arguments: Any) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(job_module, "_take_out", killed)
    with pytest.raises(KeyboardInterrupt):
        lake.erase()
    monkeypatch.setattr(job_module, "_take_out", real)
    first = json.loads(lake.bodies("results")[f"erasures/{ANN}/plan.json"][0])
    # The rest is done by another run, which no longer sees the day of what is gone.
    plan = lake.erase("jr_2")
    assert (plan["id"], plan["days"], plan["before"]) == ("jr_1", first["days"], first["before"])
    assert lake.prove()["left"] == {}


def test_after_its_proof_an_erasure_begins_anew(lake: Lake) -> None:
    lake.erase()
    proof = json.dumps({"plan": "jr_1", "is_erased": True}).encode()
    lake.put("results", f"erasures/{ANN}/proof.json", proof)
    again = lake.erase("jr_2")
    assert (again["id"], again["days"], again["before"]) == ("jr_2", [], {})
    lake.put("raw", DAY.format(21, "late"), line(anonymous_id="b-1"))
    assert lake.erase("jr_3")["days"] == ["2026-11-21"]


def test_code_that_holds_the_word_is_told_and_stays(lake: Lake) -> None:
    lake.put("artifacts", "glue/job.py", b'friend = "ann"')
    lake.erase()
    assert b'friend = "ann"' in lake.bodies("artifacts")["glue/job.py"]
    assert lake.prove()["left"] == {"artifacts/glue": {"versions": 1, "count": 0, "values": 1}}


def test_days_whose_raw_objects_have_expired_are_named_apart(lake: Lake) -> None:
    key = DAY.format(19, "part.gz")
    lake.s3.delete_object(Bucket=lake.job.place("raw").bucket, Key=key)
    replica = lake.job.place("raw-replica").bucket
    lake.s3.delete_object(Bucket=replica, Key=key)
    plan = lake.erase()
    assert (plan["days"], plan["days_without_raw"]) == (["2026-11-20"], ["2026-11-19"])
    assert lake.prove()["left"] == {}


def test_a_day_of_which_raw_has_partly_expired_is_not_cleaned_again(lake: Lake) -> None:
    """Its other objects' rows would go with it."""
    keys = [DAY.format(19, "part.gz"), DAY.format(19, "expired.gz")]
    times = [datetime(2026, 11, 19, 22, tzinfo=UTC)] * 2
    rows = pa.table({"source_object": keys, "arrived_at": times, "user_id": ["ann", "bob"]})
    lake.put("processed", "lake/fact_clicks/part.parquet", parquet(rows))
    plan = lake.erase()
    assert (plan["days"], plan["days_without_raw"]) == (["2026-11-20"], ["2026-11-19"])
    assert lake.prove()["left"] == {}
    ((body,),) = lake.bodies("processed").values()
    assert pq.read_table(io.BytesIO(body))["user_id"].to_pylist() == ["bob"]


def test_a_result_goes_whole_also_when_nobody_can_read_it(lake: Lake) -> None:
    lake.put("results", "athena/ctas", parquet(pa.table({"customer": ["ann", "bob"]})))
    lake.put("results", "athena/unload", parquet(pa.table({"user_id": ["ann", "bob"]})))
    lake.put("results", "athena/other", parquet(pa.table({"user_id": ["bob"]})))
    lake.put("results", "athena/rows.orc", b"ORC\x82\xff ann")
    lake.put("results", "athena/2.csv.metadata", b"\x0a\x82\xff")
    lake.erase()
    left = {"athena/2.csv", "athena/2.csv.metadata", "athena/other", f"erasures/{ANN}/plan.json"}
    assert set(lake.bodies("results")) == left
    assert lake.prove()["left"] == {}


def test_an_object_keeps_its_type_and_a_changed_one_is_left_alone(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, bucket = DAY.format(22, "typed"), lake.job.place("raw").bucket
    lake.put("raw", key, line(user_id="ann"), ContentType="text/x-clicks", Metadata={"a": "b"})
    real = object_versions.replace

    def meanwhile(s3: Any, version: Any, body: bytes, answer: Any) -> None:
        if version.key == key:
            lake.put("raw", key, line(user_id="ann") + b"\nnew", ContentType="text/x-clicks")
        real(s3, version, body, answer)

    monkeypatch.setattr(object_versions, "replace", meanwhile)
    with pytest.raises(Exception, match="PreconditionFailed"):
        lake.erase()
    monkeypatch.setattr(object_versions, "replace", real)
    lake.erase()
    assert lake.bodies("raw")[key] == [ERASED_LINE + b"\nnew"]
    assert lake.s3.head_object(Bucket=bucket, Key=key)["ContentType"] == "text/x-clicks"


def test_in_a_bucket_without_versions_the_rewritten_object_stays(lake: Lake) -> None:
    bucket, key = lake.job.place("raw").bucket + "-plain", DAY.format(19, "plain")
    lake.s3.create_bucket(Bucket=bucket)
    lake.job = replace(
        lake.job,
        places=tuple(p._replace(bucket=bucket) if p.part == "raw" else p for p in lake.job.places),
    )
    lake.put("raw", key, line(user_id="ann") + b"\nx")
    lake.erase()
    assert lake.bodies("raw") == {key: [ERASED_LINE + b"\nx"]}


@pytest.mark.parametrize("missing", ["salt", "plan"])
def test_what_is_missing_is_named(lake: Lake, missing: str) -> None:
    if missing == "plan":
        with pytest.raises(LookupError, match="nobody has begun to erase"):
            lake.prove()
        return
    bucket = lake.job.place("artifacts").bucket
    lake.s3.delete_object(Bucket=bucket, Key="tombstones/salt")
    with pytest.raises(LookupError, match="tombstones/salt is missing; Terraform makes it"):
        lake.erase()
