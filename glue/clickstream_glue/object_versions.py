"""S3 objects with all of their versions, which neither Spark nor Hadoop knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

#: What a rewritten object keeps of the old one.
KEPT = ("ContentType", "ContentEncoding", "Metadata")


class Version(NamedTuple):
    """One version of one object."""

    bucket: str
    key: str
    id: str
    is_current: bool


def list_versions(s3: Any, bucket: str) -> Iterator[Version]:
    """Every version in a bucket; delete markers have no bytes and are left out."""
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for found in page.get("Versions", ()):
            yield Version(bucket, found["Key"], found["VersionId"], found["IsLatest"])


def read(s3: Any, version: Version) -> dict[str, Any] | None:
    """GetObject's answer; None when the version has gone since it was listed.

    Of a current version it is the current one of now: what came meanwhile may be the person's too.
    """
    which = {} if version.is_current else {"VersionId": version.id}
    try:
        return s3.get_object(Bucket=version.bucket, Key=version.key, **which)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("NoSuchKey", "NoSuchVersion", "404"):
            raise
        return None


def replace(s3: Any, version: Version, body: bytes, answer: dict[str, Any]) -> None:
    """Put `body` in the place of a current version, and delete that version for good.

    Args:
        s3: a client of the bucket's region.
        version: what was read.
        body: the new bytes.
        answer: what `read` returned; an object that has changed since is left alone, with an error.
    """
    kept = {name: answer[name] for name in KEPT if answer.get(name)}
    written = s3.put_object(
        Bucket=version.bucket, Key=version.key, Body=body, IfMatch=answer["ETag"], **kept
    )
    # A bucket without versions has overwritten it already.
    if written.get("VersionId") != answer.get("VersionId"):
        delete(s3, version, answer)


def delete(s3: Any, version: Version, answer: dict[str, Any]) -> None:
    """Delete for good what `read` returned; a version that has gone is fine."""
    id = answer.get("VersionId", version.id)
    s3.delete_object(Bucket=version.bucket, Key=version.key, VersionId=id)


def read_text(s3: Any, bucket: str, key: str) -> str | None:
    """A small object's text; None when there is none."""
    try:
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("NoSuchKey", "404"):
            raise
        return None
