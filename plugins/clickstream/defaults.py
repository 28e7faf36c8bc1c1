"""What every task has unless it says otherwise."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from clickstream.config import Config

#: Airflow's pools, as `airflow pools import` reads them.
POOLS_FILE = Path(__file__).with_name("pools.json")
#: Whoever reads or writes the lake holds a slot; who wants it for himself takes all of them.
((LAKE_POOL, _POOL),) = json.loads(POOLS_FILE.read_text(encoding="utf-8")).items()
LAKE_SLOTS: int = _POOL["slots"]


def default_args(config: Config) -> dict[str, Any]:
    """`default_args` of every DAG of this deployment."""
    return {
        "owner": "data-platform",
        "retries": 3,
        "retry_delay": timedelta(seconds=config.settings.retry_seconds),
        "retry_exponential_backoff": 2,
        "max_retry_delay": timedelta(minutes=15),
        "execution_timeout": timedelta(hours=1),
        "pool": LAKE_POOL,
        "aws_conn_id": "aws_default",
        "region_name": config.region,
    }
