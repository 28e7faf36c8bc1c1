"""Expiry: what the rules of a bucket ask for, to the day, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from clickstream.config import Buckets, Config
from clickstream.retention import BUCKETS, Rule, Version, expire, is_due, overdue, read_rules

from tests.conftest import EmbeddedAws

AS_OF = datetime(2026, 11, 20, 3, tzinfo=UTC)
DAY = timedelta(days=1)
RULES = [Rule(noncurrent_days=7, drops_markers=True), Rule(prefix="athena/", object_days=30)]


def version(
    key: str, number: int, age_days: float, *, is_current: bool = False, is_marker: bool = False
) -> Version:
    return Version(
        key=key,
        version_id=f"v{number}",
        modified_at=AS_OF - age_days * DAY,
        is_current=is_current,
        size=0 if is_marker else 10 * number,
        is_marker=is_marker,
    )


def doomed(*versions: Version, rules: list[Rule] = RULES) -> list[tuple[str, str | None, int]]:
    found = overdue(list(versions), rules, AS_OF)
    return [dataclasses.astuple(item) for item in found]


def test_days_are_whole_and_end_at_midnight() -> None:
    noon = datetime(2026, 11, 10, 12, tzinfo=UTC)
    assert not is_due(noon, 7, datetime(2026, 11, 17, 23, 59, 59, tzinfo=UTC))
    assert is_due(noon, 7, datetime(2026, 11, 18, tzinfo=UTC))
    assert not is_due(noon, None, AS_OF)


def test_an_object_goes_when_it_is_older_than_its_prefixs_rule() -> None:
    assert doomed(version("athena/a", 1, 32, is_current=True)) == [("athena/a", None, 10)]
    assert doomed(version("athena/a", 1, 29, is_current=True)) == []
    assert doomed(version("quality/a", 1, 900, is_current=True)) == []


def test_a_version_is_old_since_it_was_replaced_not_since_it_was_written() -> None:
    written_long_ago = version("lake/a", 1, 900)
    assert doomed(version("lake/a", 2, 3, is_current=True), written_long_ago) == []
    assert doomed(version("lake/a", 2, 9, is_current=True), written_long_ago) == [
        ("lake/a", "v1", 10)
    ]
    # Whatever order S3's two lists had.
    assert doomed(
        written_long_ago, version("lake/a", 2, 100), version("lake/a", 3, 3, is_current=True)
    ) == [("lake/a", "v1", 10)]


def test_a_deleted_object_keeps_its_versions_as_long_and_then_loses_its_marker() -> None:
    marker = version("lake/a", 2, 3, is_current=True, is_marker=True)
    assert doomed(marker, version("lake/a", 1, 900)) == []
    assert doomed(marker) == [("lake/a", "v2", 0)]
    assert doomed(marker, rules=[Rule(noncurrent_days=7)]) == []


def test_the_rules_are_read_as_s3_has_them() -> None:
    assert read_rules(
        [
            {
                "Status": "Enabled",
                "Filter": {"Prefix": ""},
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
                "NoncurrentVersionExpiration": {"NoncurrentDays": 7},
                "Expiration": {"ExpiredObjectDeleteMarker": True},
            },
            {"Status": "Enabled", "Filter": {"Prefix": "athena/"}, "Expiration": {"Days": 30}},
        ]
    ) == [Rule("", None, 7, 7, True), Rule("athena/", 30)]


@pytest.mark.parametrize(
    "rule",
    [
        {"Status": "Disabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}},
        {
            "Status": "Enabled",
            "Filter": {"Tag": {"Key": "a", "Value": "b"}},
            "Expiration": {"Days": 1},
        },
        {"Status": "Enabled", "Filter": {"And": {"Prefix": ""}}, "Expiration": {"Days": 1}},
        {"Status": "Enabled", "Filter": {"ObjectSizeGreaterThan": 9}, "Expiration": {"Days": 1}},
    ],
)
def test_a_rule_that_asks_for_more_than_prefix_and_age_is_left_to_s3(rule: dict[str, Any]) -> None:
    assert read_rules([rule]) == []


def test_a_number_of_versions_to_keep_and_a_date_are_left_to_s3() -> None:
    rule = {
        "Status": "Enabled",
        "Filter": {},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 1, "NewerNoncurrentVersions": 3},
        "Expiration": {"Date": AS_OF},
    }
    assert read_rules([rule]) == [Rule()]


@pytest.fixture(scope="module")
def provisioned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Config, Any]]:
    """The buckets with their rules, as the embedded AWS makes them."""
    with EmbeddedAws(tmp_path_factory.mktemp("localaws")) as aws:
        aws.command("provision")
        yield Config.from_environment({}), aws.client("s3")


def test_a_bucket_loses_what_its_rules_ask_for_and_raw_nothing(
    provisioned: tuple[Config, Any],
) -> None:
    config, s3 = provisioned
    names = config.buckets
    for bucket in (names.processed, names.raw):
        enabled = {"Status": "Enabled"}
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=enabled)
        for body in (b"old", b"new"):
            s3.put_object(Bucket=bucket, Key="clickstream/a", Body=body)
    for key in keys(s3, names.results):  # making the tables has left some
        s3.delete_object(Bucket=names.results, Key=key)
    for key in ("athena/a.csv", "quality/report.html"):
        s3.put_object(Bucket=names.results, Key=key, Body=b"12345")
    s3.create_multipart_upload(Bucket=names.errors, Key="torn")

    now = datetime.now(UTC)
    nothing = expire(config, s3, now + 6 * DAY, is_dry_run=False)
    assert {sum(vars(found).values()) for found in nothing.values()} == {0}
    wanted = {
        names.processed: {"objects": 0, "versions": 1, "bytes": 3, "uploads": 0},
        names.results: {"objects": 1, "versions": 0, "bytes": 5, "uploads": 0},
        names.errors: {"objects": 0, "versions": 0, "bytes": 0, "uploads": 1},
    }
    for is_dry_run in (True, False):
        found = expire(config, s3, now + 32 * DAY, is_dry_run)
        assert {bucket: vars(item) for bucket, item in found.items()} == wanted
    again = expire(config, s3, now + 32 * DAY, is_dry_run=False)
    assert {sum(vars(found).values()) for found in again.values()} == {0}

    assert keys(s3, names.results) == ["quality/report.html"]
    assert s3.get_object(Bucket=names.processed, Key="clickstream/a")["Body"].read() == b"new"
    assert len(s3.list_object_versions(Bucket=names.raw)["Versions"]) == 2
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=names.errors)


def keys(s3: Any, bucket: str) -> list[str]:
    return [item["Key"] for item in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


def test_a_bucket_without_rules_loses_nothing(provisioned: tuple[Config, Any]) -> None:
    config, s3 = provisioned
    bare = Buckets(**{part: f"bare-{part}" for part in vars(config.buckets)})
    for part in BUCKETS:
        s3.create_bucket(Bucket=getattr(bare, part))
        s3.put_object(Bucket=getattr(bare, part), Key="athena/a", Body=b"1")
    found = expire(
        dataclasses.replace(config, buckets=bare), s3, AS_OF + 9000 * DAY, is_dry_run=False
    )
    assert {sum(vars(item).values()) for item in found.values()} == {0}
    assert keys(s3, bare.results) == ["athena/a"]


class Refusing:
    """An S3 that lists one object long overdue, and refuses to delete it."""

    def get_bucket_lifecycle_configuration(self, **_: Any) -> dict[str, Any]:
        return {"Rules": [{"Status": "Enabled", "Filter": {}, "Expiration": {"Days": 1}}]}

    def get_paginator(self, name: str) -> Refusing:
        self.name = name
        return self

    def paginate(self, **_: Any) -> list[dict[str, Any]]:
        item = {"Key": "a", "VersionId": "1", "LastModified": AS_OF - 9 * DAY, "IsLatest": True}
        return [{"Versions": [item]}] if self.name == "list_object_versions" else [{}]

    def delete_objects(self, **_: Any) -> dict[str, Any]:
        return {"Errors": [{"Key": "a", "Code": "AccessDenied", "Message": "no"}]}


def test_what_s3_does_not_delete_is_an_error_that_names_it() -> None:
    config = Config.from_environment({})
    with pytest.raises(
        RuntimeError, match=r"S3 did not delete a of .*processed.*: AccessDenied no"
    ):
        expire(config, Refusing(), AS_OF, is_dry_run=False)
