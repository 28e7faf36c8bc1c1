"""Whether the catalog knows every partition that a run has written.

Neither a crawler nor MSCK REPAIR is trusted: a crawl may have begun before the data was written,
and MSCK skips in silence what it cannot read.
"""

from __future__ import annotations

from typing import Any

from clickstream.config import Config

#: Limits of BatchGetPartition and BatchCreatePartition.
MAX_GET, MAX_CREATE = 1000, 100

#: A partition's values, in the order of the table's partition columns.
Values = list[str]


def hour_values(hour: str) -> Values:
    """The values of fact_clicks' partition of an event hour, such as ``2026-11-20T07``."""
    return [*day_values(hour[:10]), str(int(hour[11:13]))]


def day_values(day: str) -> Values:
    """Year, month and day of a day such as ``2026-11-20``."""
    return [str(int(part)) for part in day.split("-")]


def add_missing_partitions(
    config: Config, glue: Any, table: str, wanted: list[Values]
) -> list[Values]:
    """Register the partitions that the catalog does not know yet.

    Args:
        config: names of the database.
        glue: a boto3 Glue client.
        table: the table's name.
        wanted: the partitions that must be there.

    Returns:
        Those that were missing.

    Raises:
        RuntimeError: partitions that the catalog did not take, and why.
    """
    missing = _missing(config, glue, table, wanted)
    if not missing:
        return []
    found = glue.get_table(DatabaseName=config.glue.database, Name=table)["Table"]
    storage, keys = found["StorageDescriptor"], [key["Name"] for key in found["PartitionKeys"]]

    def location(values: Values) -> str:
        folders = (f"{key}={value}/" for key, value in zip(keys, values, strict=True))
        return f"{storage['Location'].rstrip('/')}/{''.join(folders)}"

    errors: list[dict[str, Any]] = []
    for chunk in _chunks(missing, MAX_CREATE):
        answer = glue.batch_create_partition(
            DatabaseName=config.glue.database,
            TableName=table,
            PartitionInputList=[
                {"Values": values, "StorageDescriptor": {**storage, "Location": location(values)}}
                for values in chunk
            ],
        )
        errors += answer.get("Errors", [])
    if still_missing := _missing(config, glue, table, missing):
        names = ["/".join(values) for values in still_missing]
        raise RuntimeError(
            f"the catalog lacks {len(names)} partitions of {table} "
            f"({', '.join(names[:5])}{', …' if len(names) > 5 else ''}): "
            f"{errors[0]['ErrorDetail']['ErrorMessage'] if errors else 'Glue gave no reason'}"
        )
    return missing


def _missing(config: Config, glue: Any, table: str, wanted: list[Values]) -> list[Values]:
    known: set[tuple[str, ...]] = set()
    for chunk in _chunks(wanted, MAX_GET):
        keys = [{"Values": values} for values in chunk]
        while keys:
            answer = glue.batch_get_partition(
                DatabaseName=config.glue.database, TableName=table, PartitionsToGet=keys
            )
            known |= {_comparable(found["Values"]) for found in answer["Partitions"]}
            keys = answer.get("UnprocessedKeys", [])
    return [values for values in wanted if _comparable(values) not in known]


def _comparable(values: Values) -> tuple[str, ...]:
    """Numbers without the zeros that a folder's name may have."""
    return tuple(str(int(value)) if value.isdecimal() else value for value in values)


def _chunks(items: list[Values], size: int) -> list[list[Values]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
