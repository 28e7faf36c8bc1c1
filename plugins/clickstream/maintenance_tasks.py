"""The Python tasks of clickstream_maintenance."""

from __future__ import annotations

import logging
from dataclasses import asdict

from airflow.sdk import get_current_context, task

from clickstream.config import Config

log = logging.getLogger(__name__)

CONFIG = Config.from_environment()


@task
def expire_objects() -> dict[str, dict[str, int]]:
    """What the buckets' life cycle rules say is over goes; how much that was, by bucket."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    from clickstream import retention

    context = get_current_context()
    is_dry_run = context["params"]["is_dry_run"]
    s3 = S3Hook(region_name=CONFIG.region).get_conn()
    # When this try began, not the run's interval: a person may give that a date to come.
    found = retention.expire(CONFIG, s3, context["ti"].start_date, is_dry_run)
    for bucket, expired in found.items():
        log.info(
            "%s: %s%d objects and %d old versions (%d bytes), %d torn uploads",
            bucket,
            "would lose " if is_dry_run else "has lost ",
            *(expired.objects, expired.versions, expired.bytes, expired.uploads),
        )
    return {bucket: asdict(expired) for bucket, expired in found.items()}
