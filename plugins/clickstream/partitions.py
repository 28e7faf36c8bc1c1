"""Whether the catalog knows every event hour that a run has written.

Neither a crawler nor MSCK REPAIR is trusted: a crawl may have begun before the data was written,
and MSCK skips in silence what it cannot read.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from clickstream.config import Config

TABLE = "fact_clicks"
#: Limits of BatchGetPartition and BatchCreatePartition.
MAX_GET, MAX_CREATE = 1000, 100


def add_missing_partitions(config: Config, glue: Any, hours: list[str]) -> list[str]:
    """Register the hours the catalog does not know yet.

    Args:
        config: names of the database and of the table's place.
        glue: a boto3 Glue client.
        hours: event hours, as ``2026-11-20T07``.

    Returns:
        The hours that were missing.

    Raises:
        RuntimeError: hours that the catalog did not take, and why.
    """
    missing = _missing(config, glue, hours)
    if not missing:
        return []
    table = glue.get_table(DatabaseName=config.glue.database, Name=TABLE)["Table"]
    storage = table["StorageDescriptor"]
    errors: list[dict[str, Any]] = []
    for chunk in _chunks(missing, MAX_CREATE):
        answer = glue.batch_create_partition(
            DatabaseName=config.glue.database,
            TableName=TABLE,
            PartitionInputList=[
                {
                    "Values": _values(hour),
                    "StorageDescriptor": {
                        **storage,
                        "Location": f"{storage['Location'].rstrip('/')}/{_folder(hour)}/",
                    },
                }
                for hour in chunk
            ],
        )
        errors += answer.get("Errors", [])
    if still_missing := _missing(config, glue, missing):
        raise RuntimeError(
            f"the catalog lacks {len(still_missing)} partitions of {TABLE} "
            f"({', '.join(still_missing[:5])}{', …' if len(still_missing) > 5 else ''}): "
            f"{errors[0]['ErrorDetail']['ErrorMessage'] if errors else 'Glue gave no reason'}"
        )
    return missing


def _missing(config: Config, glue: Any, hours: list[str]) -> list[str]:
    known: set[tuple[int, ...]] = set()
    for chunk in _chunks(hours, MAX_GET):
        keys = [{"Values": _values(hour)} for hour in chunk]
        while keys:
            answer = glue.batch_get_partition(
                DatabaseName=config.glue.database, TableName=TABLE, PartitionsToGet=keys
            )
            known |= {tuple(map(int, found["Values"])) for found in answer["Partitions"]}
            keys = answer.get("UnprocessedKeys", [])
    return [hour for hour in hours if tuple(map(int, _values(hour))) not in known]


def _values(hour: str) -> list[str]:
    moment = datetime.strptime(hour, "%Y-%m-%dT%H")
    return [str(moment.year), str(moment.month), str(moment.day), str(moment.hour)]


def _folder(hour: str) -> str:
    names = ("year", "month", "day", "hour")
    return "/".join(f"{name}={value}" for name, value in zip(names, _values(hour), strict=True))


def _chunks(items: list[str], size: int) -> list[list[str]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
