"""One run of the erasing job: find a person in every version of every object, take him out, prove.

It knows the person by digests only. What it found and which days must be cleaned again it writes
down before it changes anything: after a kill the days are still known.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import boto3
from botocore.exceptions import ClientError
from pyspark.sql import SparkSession

from clickstream_glue import erasure, object_versions
from clickstream_glue.erasure import PARQUET, Found, arrival_hour
from clickstream_glue.object_versions import Version
from clickstream_glue.raw_lines import HOUR_FOLDER
from clickstream_glue.tombstones import ANONYMOUS, SALT, USER, Tombstones, digest

#: Objects are of very different sizes: small tasks share them out evenly.
VERSIONS_PER_TASK: Final = 100
REPLICA: Final = "-replica"
RAW, ARTIFACTS, RESULTS = "raw", "artifacts", "results"
#: Buckets with rows that say which raw object they came from.
WITH_ROWS: Final = ("processed", "errors")
IDENTITIES: Final = "/identities_daily/"
T = TypeVar("T")


class Place(NamedTuple):
    """A bucket: its part in the lake, its name and its region."""

    part: str
    bucket: str
    region: str


@dataclass(frozen=True)
class EraseJob:
    """What one run is asked to do; prefixes end in a slash.

    Attributes:
        user: the user id's digest.
        is_with_anonymous: whether ids seen beside the user id are the person's too.
        places: every bucket that may hold bytes of the person, replicas included.
    """

    user: str
    is_with_anonymous: bool
    places: tuple[Place, ...]
    raw_prefix: str
    delivery_errors_prefix: str
    tombstones_prefix: str
    erasures_prefix: str
    run_id: str

    def place(self, part: str) -> Place:
        """The bucket of one part."""
        return next(place for place in self.places if place.part == part)


class Hit(NamedTuple):
    """A version that names the person, and what it holds of him."""

    place: Place
    version: Version
    found: Found


def erase(spark: SparkSession, job: EraseJob) -> dict[str, Any]:
    """Takes the person out of every object; returns the plan as it was written down."""
    plan = _open_plan(job)
    erased = _person(job, plan)
    _put_tombstones(job, erased)
    if job.is_with_anonymous:
        known = _each_version(spark, job, partial(_anonymous, job, erased))
        names = {digest(erased.salt, ANONYMOUS, id) for ids in known for id in ids}
        erased = Tombstones(erased.salt, erased.users, erased.anonymous | names)
        _put_tombstones(job, erased)
    hits = _each_version(spark, job, partial(_find, job, erased, erased))
    days = {day for hit in hits for day in hit.found.days} | set(plan["days"])
    whole_days = _whole_days(spark, job) if days else set()
    plan |= {
        "anonymous": sorted(erased.anonymous),
        "days": sorted(days & whole_days),
        "days_without_raw": sorted(days - whole_days | set(plan["days_without_raw"])),
        # What an earlier try has counted is gone by now, or counted again.
        "before": {**_by_place(hits), **plan["before"]},
    }
    _write(job, "plan.json", plan)
    hit_versions = [(hit.place, hit.version) for hit in hits if hit.found.count]
    _each(spark, hit_versions, partial(_take_out, job, erased))
    return plan


def prove(spark: SparkSession, job: EraseJob) -> dict[str, Any]:
    """Reads every object again; returns what is left of the person, by place."""
    plan = _read(job, "plan.json")
    if plan is None:
        raise LookupError(f"nobody has begun to erase {job.user}: run the step erase first")
    erased = _person(job, plan)
    versions = list(_versions(job))
    identities = [(place, version) for place, version in versions if IDENTITIES in version.key]
    shared = {
        digest(erased.salt, ANONYMOUS, id)
        for ids in _each(spark, identities, partial(_shared, erased))
        for id in ids
    }
    # A browser that somebody else is known by may stand in any result of the lake as it is now.
    in_results = Tombstones(erased.salt, erased.users, erased.anonymous - shared)
    hits = _each(spark, versions, partial(_find, job, erased, in_results))
    answer = {
        "plan": plan["id"],
        "version_count": len(versions),
        "buckets": [place.bucket for place in job.places],
        "left": _by_place(hits),
    }
    _write(job, "after.json", answer)
    return answer


def _open_plan(job: EraseJob) -> dict[str, Any]:
    """The plan of an erasure that is under way, or a new one."""
    plan, proof = _read(job, "plan.json"), _read(job, "proof.json")
    is_done = bool(plan and proof and proof["plan"] == plan["id"] and proof["is_erased"])
    if plan and not is_done:
        return plan
    return {
        "id": job.run_id,
        "user": job.user,
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        # Whose ids they were, only the events said that are gone.
        "anonymous": plan["anonymous"] if plan else [],
        "days": [],
        "days_without_raw": [],
        "before": {},
    }


def _person(job: EraseJob, plan: dict[str, Any]) -> Tombstones:
    place = job.place(ARTIFACTS)
    key = f"{job.tombstones_prefix}{SALT}"
    salt = object_versions.read_text(_client(place), place.bucket, key)
    if salt is None:
        raise LookupError(f"s3://{place.bucket}/{key} is missing; Terraform makes it")
    return Tombstones(salt, [job.user], plan["anonymous"])


def _whole_days(spark: SparkSession, job: EraseJob) -> set[str]:
    """The days that can be cleaned again: all raw objects are there that rows came from."""
    keys = frozenset(
        version.key
        for place, version in _versions(job, RAW)
        if version.is_current and _is_lines(job, place, version.key)
    )
    rows = [
        (place, version)
        for place, version in _versions(job)
        if version.is_current and place.part in WITH_ROWS
    ]
    partial_days = _each(spark, rows, partial(_days_without_object, keys))
    return {f"{arrival_hour(key):%Y-%m-%d}" for key in keys}.difference(*partial_days)


def _put_tombstones(job: EraseJob, erased: Tombstones) -> None:
    place = job.place(ARTIFACTS)
    s3 = _client(place)
    body = json.dumps({"erased_at": datetime.now(UTC).isoformat(timespec="seconds")}).encode()
    for kind, digests in ((USER, erased.users), (ANONYMOUS, erased.anonymous)):
        for name in sorted(digests):
            key = f"{job.tombstones_prefix}{kind}/{name}"
            try:
                s3.put_object(Bucket=place.bucket, Key=key, Body=body, IfNoneMatch="*")
            except ClientError as error:
                if error.response["Error"]["Code"] != "PreconditionFailed":
                    raise


def _versions(job: EraseJob, part: str | None = None) -> Iterator[tuple[Place, Version]]:
    for place in job.places:
        if part in (None, place.part):
            for version in object_versions.list_versions(_client(place), place.bucket):
                yield place, version


def _each_version(
    spark: SparkSession, job: EraseJob, work: Callable[[Any, Place, Version], T | None]
) -> list[T]:
    return _each(spark, list(_versions(job)), work)


def _each(
    spark: SparkSession,
    versions: list[tuple[Place, Version]],
    work: Callable[[Any, Place, Version], T | None],
) -> list[T]:
    """What `work` returns of the versions, None left out; the executors share them."""
    if not versions:
        return []
    context = spark.sparkContext
    tasks = max(-(-len(versions) // VERSIONS_PER_TASK), context.defaultParallelism)
    return context.parallelize(versions, tasks).mapPartitions(partial(_work, work)).collect()


def _work(
    work: Callable[[Any, Place, Version], T | None], items: Iterable[tuple[Place, Version]]
) -> Iterator[T]:
    clients: dict[str, Any] = {}
    for place, version in items:
        s3 = clients.setdefault(place.region, clients.get(place.region) or _client(place))
        result = work(s3, place, version)
        if result is not None:
            yield result


def _anonymous(
    job: EraseJob, erased: Tombstones, s3: Any, place: Place, version: Version
) -> set[bytes] | None:
    content = _content(s3, version)
    if not content or not (_is_lines(job, place, version.key) or content[:4] == PARQUET):
        return None
    return erasure.anonymous_ids(version.key, content, erased) or None


def _shared(erased: Tombstones, s3: Any, place: Place, version: Version) -> set[bytes] | None:
    return erasure.shared_ids(_content(s3, version), erased) or None


def _days_without_object(
    keys: frozenset[str], s3: Any, place: Place, version: Version
) -> set[str] | None:
    return erasure.days_without_object(_content(s3, version), keys) or None


def _find(
    job: EraseJob,
    erased: Tombstones,
    in_results: Tombstones,
    s3: Any,
    place: Place,
    version: Version,
) -> Hit | None:
    content = _content(s3, version)
    if not content:
        return None
    if place.part.startswith(RESULTS):
        found = erasure.find_in_result(version.key, content, in_results)
    elif content[:4] == PARQUET:
        found = erasure.find_in_parquet(content, erased)
    elif _is_lines(job, place, version.key):
        found = erasure.find_in_lines(version.key, content, erased)
    elif _is_delivery_error(job, place, version.key):
        found = erasure.find_in_delivery_errors(content, erased)
    else:
        # Code and the like: what stands there is told, not deleted.
        found = replace(erasure.find_in_text(content, erased), count=0)
    return Hit(place, version, found) if found.count or found.values else None


def _take_out(job: EraseJob, erased: Tombstones, s3: Any, place: Place, version: Version) -> None:
    answer = object_versions.read(s3, version)
    if answer is None:
        return
    content = answer["Body"].read()
    if not version.is_current or place.part.startswith(RESULTS):
        object_versions.delete(s3, version, answer)
    elif content[:4] == PARQUET:
        object_versions.replace(s3, version, erasure.drop_rows(content, erased), answer)
    elif _is_lines(job, place, version.key):
        numbers = erasure.erased_lines(version.key, content, erased)
        body = erasure.replace_lines(version.key, content, numbers)
        object_versions.replace(s3, version, body, answer)
    else:
        body = erasure.replace_delivery_errors(content, erased)
        object_versions.replace(s3, version, body, answer)


def _content(s3: Any, version: Version) -> bytes:
    answer = object_versions.read(s3, version)
    return answer["Body"].read() if answer else b""


def _is_lines(job: EraseJob, place: Place, key: str) -> bool:
    is_raw = place.part.removesuffix(REPLICA) == RAW and key.startswith(job.raw_prefix)
    return is_raw and bool(HOUR_FOLDER.search(key))


def _is_delivery_error(job: EraseJob, place: Place, key: str) -> bool:
    return place.part.removesuffix(REPLICA) == RAW and key.startswith(job.delivery_errors_prefix)


def _by_place(hits: list[Hit]) -> dict[str, dict[str, int]]:
    """Versions, lines or rows, and values, by bucket and folder: ``raw/clickstream``."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for hit in hits:
        folders = [part for part in hit.version.key.split("/")[:-1] if "=" not in part]
        totals = counts["/".join([hit.place.part, *folders[:2]])]
        totals.update(versions=1, count=hit.found.count, values=hit.found.values)
    return {place: dict(totals) for place, totals in sorted(counts.items())}


def _read(job: EraseJob, name: str) -> Any:
    place = job.place(RESULTS)
    key = f"{job.erasures_prefix}{job.user}/{name}"
    text = object_versions.read_text(_client(place), place.bucket, key)
    return json.loads(text) if text else None


def _write(job: EraseJob, name: str, value: dict[str, Any]) -> None:
    place = job.place(RESULTS)
    key = f"{job.erasures_prefix}{job.user}/{name}"
    body = json.dumps(value, indent=2).encode()
    _client(place).put_object(Bucket=place.bucket, Key=key, Body=body)


def _client(place: Place) -> Any:
    return boto3.client("s3", region_name=place.region)
