"""What every task has unless it says otherwise."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from clickstream.config import Config


def default_args(config: Config) -> dict[str, Any]:
    """`default_args` of every DAG of this deployment."""
    return {
        "owner": "data-platform",
        "retries": 3,
        "retry_delay": timedelta(seconds=config.settings.retry_seconds),
        "retry_exponential_backoff": 2,
        "max_retry_delay": timedelta(minutes=15),
        "execution_timeout": timedelta(hours=1),
        "aws_conn_id": "aws_default",
        "region_name": config.region,
    }
