"""The one `Config`: every name and setting of the pipeline, from names.json and the environment.

Reading it needs no network and no Airflow, so a DAG file may do it while it is parsed.
"""

from __future__ import annotations

import json
import os
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

NAMES_FILE = Path(__file__).with_name("names.json")
#: The values of CLICKSTREAM_SCHEDULE, and how long the interval of each is.
SCHEDULES = {"daily": ("0 0 * * *", timedelta(days=1)), "hourly": ("0 * * * *", timedelta(hours=1))}

MAX_SECONDS = 7 * 24 * 60 * 60


class ConfigError(ValueError):
    """A setting that cannot be used; one sentence with the variable's name."""


@dataclass(frozen=True)
class Buckets:
    """S3 buckets."""

    raw: str
    processed: str
    artifacts: str
    results: str
    errors: str


@dataclass(frozen=True)
class Prefixes:
    """Key prefixes, each ending in a slash."""

    raw: str
    lake: str
    quarantine: str
    scripts: str
    functions: str
    athena_results: str
    quality: str
    delivery_errors: str
    tombstones: str
    erasures: str


@dataclass(frozen=True)
class Firehose:
    """Delivery streams."""

    direct: str
    from_kinesis: str


@dataclass(frozen=True)
class Live:
    """The live path: the API and its key, the functions, what they keep and whom they tell."""

    api: str
    stage: str
    api_key: str
    collector: str
    stream: str
    clock: str
    react: str
    table: str
    reactions_table: str
    bus: str
    purchases_topic: str
    push_topic: str
    alerts_topic: str
    failures_queue: str
    dead_letters_queue: str


@dataclass(frozen=True)
class Glue:
    """Catalog databases, the jobs, the crawler, and where the jobs' log groups lie."""

    raw_database: str
    database: str
    clean_job: str
    model_job: str
    compact_job: str
    erase_job: str
    crawler: str
    log_group_prefix: str


@dataclass(frozen=True)
class Athena:
    """The work group; it enforces where results go and how much a query may scan."""

    workgroup: str


@dataclass(frozen=True)
class Redshift:
    """Redshift Serverless, and the schemas in its database."""

    namespace: str
    workgroup: str
    database: str
    schema: str
    lake_schema: str


@dataclass(frozen=True)
class Roles:
    """IAM roles, one for each actor."""

    airflow: str
    producer: str
    firehose: str
    collector: str
    stream: str
    react: str
    glue: str
    crawler: str
    redshift: str
    eraser: str


@dataclass(frozen=True)
class Settings:
    """What may differ between a laptop and AWS beside the names.

    Attributes:
        schedule: `daily` or `hourly`, the length of the interval one run cleans.
        poll_seconds: how often a waiting task looks again.
        retry_seconds: the first pause before a failed task tries again (it doubles).
        delivery_delay_seconds: how long after its interval's end a scheduled run starts, so that
            Firehose's last buffer (15 minutes at most) has landed.
        raw_timeout_seconds: how long a run waits for the first raw object of its interval.
        sql_folder: where the folder `sql/` lies.
        report_folder: a folder for a copy of the quality report; None keeps it in S3 only.
    """

    schedule: str
    poll_seconds: int
    retry_seconds: int
    delivery_delay_seconds: int
    raw_timeout_seconds: int
    sql_folder: Path
    report_folder: Path | None

    @property
    def cron(self) -> str:
        """The schedule's cron expression, in UTC."""
        return SCHEDULES[self.schedule][0]

    @property
    def interval(self) -> timedelta:
        """The length of one run's interval."""
        return SCHEDULES[self.schedule][1]


@dataclass(frozen=True)
class Config:
    """Names and settings; SQL and DAGs call it `names` (``{{ names.buckets.raw }}``)."""

    name_prefix: str
    account_id: str
    region: str
    settings: Settings
    kinesis_stream: str
    buckets: Buckets
    prefixes: Prefixes
    firehose: Firehose
    live: Live
    glue: Glue
    athena: Athena
    redshift: Redshift
    roles: Roles

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Config:
        """The configuration that `environment` and names.json describe.

        Raises:
            ConfigError: a variable's value cannot be used.
        """
        read = _Reader(environment)
        name_prefix = read.matching(
            "CLICKSTREAM_NAME_PREFIX",
            "clickstream-dev",
            r"[a-z][a-z0-9-]{1,29}",
            "2 to 30 lower-case letters, digits and hyphens, a letter first",
        )
        account_id = read.matching(
            "CLICKSTREAM_ACCOUNT_ID", "000000000000", r"\d{12}", "the 12 digits of an AWS account"
        )
        region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
        report_folder = environment.get("CLICKSTREAM_REPORT_FOLDER")
        settings = Settings(
            schedule=read.matching(
                "CLICKSTREAM_SCHEDULE", "daily", "|".join(SCHEDULES), " or ".join(SCHEDULES)
            ),
            poll_seconds=read.seconds("CLICKSTREAM_POLL_SECONDS", 30),
            retry_seconds=read.seconds("CLICKSTREAM_RETRY_SECONDS", 60),
            delivery_delay_seconds=read.seconds(
                "CLICKSTREAM_DELIVERY_DELAY_SECONDS", 1200, least=0
            ),
            raw_timeout_seconds=read.seconds("CLICKSTREAM_RAW_TIMEOUT_SECONDS", 3600),
            sql_folder=Path(
                environment.get("CLICKSTREAM_SQL_FOLDER")
                or Path(__file__).resolve().parents[2] / "sql"
            ),
            report_folder=Path(report_folder) if report_folder else None,
        )
        template = string.Template(NAMES_FILE.read_text(encoding="utf-8"))
        names: dict[str, Any] = json.loads(
            template.substitute(name_prefix=name_prefix, account_id=account_id)
        )
        return cls(
            name_prefix=name_prefix,
            account_id=account_id,
            region=region or "us-east-1",
            settings=settings,
            kinesis_stream=names["kinesis_stream"],
            buckets=Buckets(**names["buckets"]),
            prefixes=Prefixes(**names["prefixes"]),
            firehose=Firehose(**names["firehose"]),
            live=Live(**names["live"]),
            glue=Glue(**names["glue"]),
            athena=Athena(**names["athena"]),
            redshift=Redshift(**names["redshift"]),
            roles=Roles(**names["roles"]),
        )


class _Reader:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def matching(self, name: str, default: str, pattern: str, rule: str) -> str:
        value = self._environment.get(name) or default
        if not re.fullmatch(pattern, value):
            raise ConfigError(f"{name} is {value!r}; it must be {rule}")
        return value

    def seconds(self, name: str, default: int, least: int = 1) -> int:
        rule = f"a whole number of seconds from {least} to {MAX_SECONDS}"
        value = int(self.matching(name, str(default), r"\d{1,9}", rule))
        if not least <= value <= MAX_SECONDS:
            raise ConfigError(f"{name} is '{value}'; it must be {rule}")
        return value
