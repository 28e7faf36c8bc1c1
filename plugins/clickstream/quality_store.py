"""Where quality results lie: ``quality/<interval>/`` in the results bucket."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from clickstream.config import Config
from clickstream.interval import Interval

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook


def _s3(config: Config) -> S3Hook:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    return S3Hook(region_name=config.region)


def _key(config: Config, interval: Interval, name: str) -> str:
    return f"{config.prefixes.quality}{interval.key}/{name}"


#: The parts of a run that are checked, in their order.
PARTS = ("events", "model")


def validation_keys(config: Config, interval: Interval, run_id: str) -> list[str]:
    """Where the validations of a run lie, those of each part; named by the clean job's run."""
    return [_key(config, interval, f"{run_id}.{part}.json") for part in PARTS]


def save_validations(
    config: Config, interval: Interval, run_id: str, part: str, validations: dict[str, Any]
) -> None:
    """Keep what Great Expectations found, under the clean job's run: no retry mixes them up."""
    _s3(config).load_string(
        json.dumps(validations),
        _key(config, interval, f"{run_id}.{part}.json"),
        config.buckets.results,
        replace=True,
    )


def load_validations(config: Config, interval: Interval, run_id: str) -> dict[str, Any]:
    """What `save_validations` kept of all parts; empty when the checks did not run."""
    found: dict[str, Any] = {}
    for key in validation_keys(config, interval, run_id):
        try:
            found |= json.loads(_s3(config).read_key(key, config.buckets.results))
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("404", "NoSuchKey"):
                raise
    return found


def save_report(config: Config, interval: Interval, page: str) -> str:
    """Write the interval's report to S3 (and to the local folder, if one is set).

    Returns:
        Its address: the local path, or else the S3 one.
    """
    key = _key(config, interval, "report.html")
    # Through the client: load_string cannot set the content type that a browser needs.
    s3: Any = _s3(config).get_conn()
    s3.put_object(
        Bucket=config.buckets.results,
        Key=key,
        Body=page.encode(),
        ContentType="text/html; charset=utf-8",
    )
    if config.settings.report_folder is None:
        return f"s3://{config.buckets.results}/{key}"
    path = config.settings.report_folder / f"{interval.key}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return str(path)
