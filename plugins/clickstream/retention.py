"""Expiry: does what the buckets' own life cycle rules say, where no S3 does it.

The rules are read from the buckets, where Terraform puts them: there is no second source of
numbers. On AWS, S3 has been there before, and next to nothing is left to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from botocore.exceptions import ClientError

from clickstream.config import Config

#: Never raw, from which everything else can be made again; artifacts are Terraform's.
BUCKETS = ("processed", "results", "errors")
#: What DeleteObjects takes at a time.
MAX_DELETE = 1000


@dataclass(frozen=True)
class Rule:
    """What goes, below a prefix, after how many days; None: it stays."""

    prefix: str = ""
    object_days: int | None = None
    noncurrent_days: int | None = None
    upload_days: int | None = None
    drops_markers: bool = False


@dataclass(frozen=True)
class Version:
    """One version of an object, or the marker of its deletion."""

    key: str
    version_id: str
    modified_at: datetime
    is_current: bool
    size: int = 0
    is_marker: bool = False


@dataclass(frozen=True)
class Doomed:
    """What to delete; without a version the object itself, whose bytes a versioned bucket keeps."""

    key: str
    version_id: str | None
    size: int


@dataclass
class Expired:
    """What one bucket has lost, or would have."""

    objects: int = 0
    versions: int = 0
    bytes: int = 0
    uploads: int = 0


def read_rules(rules: Iterable[dict[str, Any]]) -> list[Rule]:
    """The rules of a bucket's life cycle that are by prefix and age alone.

    One that also asks for a tag, a size, a date or a number of versions is left to S3: to delete
    less than it is right, to delete more is not.
    """
    found = []
    for rule in rules:
        place = rule.get("Filter", {"Prefix": rule.get("Prefix", "")})
        if rule["Status"] != "Enabled" or place.keys() - {"Prefix"}:
            continue
        expiration = rule.get("Expiration", {})
        noncurrent = rule.get("NoncurrentVersionExpiration", {})
        found.append(
            Rule(
                prefix=place.get("Prefix", ""),
                object_days=expiration.get("Days"),
                noncurrent_days=(
                    None
                    if noncurrent.get("NewerNoncurrentVersions")
                    else noncurrent.get("NoncurrentDays")
                ),
                upload_days=rule.get("AbortIncompleteMultipartUpload", {}).get(
                    "DaysAfterInitiation"
                ),
                drops_markers=expiration.get("ExpiredObjectDeleteMarker", False),
            )
        )
    return found


def is_due(since: datetime, days: int | None, as_of: datetime) -> bool:
    """Whether S3 would act by now: it counts whole days, up to the next midnight UTC."""
    if days is None:
        return False
    end = since.astimezone(UTC) + timedelta(days=days)
    return as_of >= end.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


def overdue(versions: list[Version], rules: list[Rule], as_of: datetime) -> Iterator[Doomed]:
    """What is to go of one key's versions."""
    rules = [rule for rule in rules if versions[0].key.startswith(rule.prefix)]
    current, *older = sorted(
        versions, key=lambda version: (version.is_current, version.modified_at), reverse=True
    )
    if not current.is_marker:
        if any(is_due(current.modified_at, rule.object_days, as_of) for rule in rules):
            yield Doomed(current.key, None, current.size)
    elif not older and any(rule.drops_markers for rule in rules):
        yield Doomed(current.key, current.version_id, 0)
    replaced_at = current.modified_at
    for version in older:
        # A version is old since another took its place, however long it lay there before.
        if any(is_due(replaced_at, rule.noncurrent_days, as_of) for rule in rules):
            yield Doomed(version.key, version.version_id, version.size)
        replaced_at = version.modified_at


def expire(config: Config, s3: Any, as_of: datetime, is_dry_run: bool) -> dict[str, Expired]:
    """Delete what the buckets' rules say is over; returns what went, by bucket.

    Args:
        config: names of the buckets.
        s3: a boto3 S3 client.
        as_of: the present; a date to come would delete what is not over.
        is_dry_run: count only.

    Raises:
        RuntimeError: S3 refused to delete something.
    """
    found = {}
    for part in BUCKETS:
        bucket = getattr(config.buckets, part)
        rules = _rules(s3, bucket)
        doomed = [] if not rules else list(_overdue(s3, bucket, rules, as_of))
        uploads = [] if not rules else list(_torn_uploads(s3, bucket, rules, as_of))
        found[bucket] = Expired(
            objects=sum(item.version_id is None for item in doomed),
            versions=sum(item.version_id is not None for item in doomed),
            bytes=sum(item.size for item in doomed),
            uploads=len(uploads),
        )
        if not is_dry_run:
            _delete(s3, bucket, doomed)
            for upload in uploads:
                s3.abort_multipart_upload(Bucket=bucket, **upload)
    return found


def _rules(s3: Any, bucket: str) -> list[Rule]:
    try:
        return read_rules(s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchLifecycleConfiguration":
            raise
        return []


def _overdue(s3: Any, bucket: str, rules: list[Rule], as_of: datetime) -> Iterator[Doomed]:
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket)
    found = [
        Version(
            key=item["Key"],
            version_id=item["VersionId"],
            modified_at=item["LastModified"],
            is_current=item["IsLatest"],
            size=item.get("Size", 0),
            is_marker=kind == "DeleteMarkers",
        )
        for page in pages
        for kind in ("Versions", "DeleteMarkers")
        for item in page.get(kind, [])
    ]
    for _, versions in groupby(sorted(found, key=lambda version: version.key), lambda v: v.key):
        yield from overdue(list(versions), rules, as_of)


def _torn_uploads(
    s3: Any, bucket: str, rules: list[Rule], as_of: datetime
) -> Iterator[dict[str, str]]:
    for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
        for upload in page.get("Uploads", []):
            if any(
                upload["Key"].startswith(rule.prefix)
                and is_due(upload["Initiated"], rule.upload_days, as_of)
                for rule in rules
            ):
                yield {"Key": upload["Key"], "UploadId": upload["UploadId"]}


def _delete(s3: Any, bucket: str, doomed: list[Doomed]) -> None:
    for start in range(0, len(doomed), MAX_DELETE):
        items = [
            {"Key": item.key} | ({"VersionId": item.version_id} if item.version_id else {})
            for item in doomed[start : start + MAX_DELETE]
        ]
        answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": items, "Quiet": True})
        for error in answer.get("Errors", []):
            raise RuntimeError(
                f"S3 did not delete {error['Key']} of {bucket}: {error['Code']} {error['Message']}"
            )
