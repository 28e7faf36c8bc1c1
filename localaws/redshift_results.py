"""Results of the Redshift Data API: written to disk page by page, in the API's own shape."""

from __future__ import annotations

import csv
import datetime as dt
import io
import math
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from localaws import redshift_dialect as dialect
from localaws.redshift_dialect import SqlError
from localaws.redshift_sql import Outcome

MAX_BYTES = 500 << 20


def write(folder: Path, outcome: Outcome, result_format: str) -> int:
    """Write an outcome's rows, if it has any, one file a batch; returns their size in bytes.

    Raises:
        SqlError: when the query fails while it runs, or its result is too large.
    """
    if outcome.columns is None or outcome.batches is None:
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    size = pages = 0
    for batch in outcome.batches:
        columns = [
            _values(column, kind)
            for column, (_, kind) in zip(batch.columns, outcome.columns, strict=True)
        ]
        rows = list(zip(*columns, strict=True))
        if not rows:
            continue
        size += sum(len(str(value)) for row in rows for value in row if value is not None)
        if size > MAX_BYTES:
            raise SqlError(f"the result is larger than {MAX_BYTES >> 20} MB; UNLOAD it")
        records = _csv(rows) if result_format == "CSV" else [list(map(_field, row)) for row in rows]
        (folder / f"{pages}.json").write_bytes(orjson.dumps(records))
        outcome.rows += len(rows)
        pages += 1
    head = {
        "ColumnMetadata": [metadata(name, kind) for name, kind in outcome.columns],
        "TotalNumRows": outcome.rows,
        "ResultFormat": result_format,
        "Pages": pages,
    }
    (folder / "head.json").write_bytes(orjson.dumps(head))
    return size


def read(folder: Path, name: str) -> Any:
    """What `write` kept: the ``head``, or the records of a page; None when there is nothing."""
    path = folder / f"{name}.json"
    return orjson.loads(path.read_bytes()) if path.exists() else None


def _values(column: pa.Array, kind: str) -> list[Any]:
    if kind == "TIMESTAMP WITH TIME ZONE":  # in UTC; a zone would want the system's database
        times = column.cast(pa.timestamp("us")).to_pylist()
        return [None if time is None else f"{_value(time, kind)}+00" for time in times]
    return [_value(value, kind) for value in column.to_pylist()]


def _value(value: Any, kind: str) -> Any:
    """A value of a DuckDB type as JSON can carry it; dates and times in Redshift's spelling."""
    if kind == "HUGEINT" and value is not None and abs(value) < 1 << 63:
        return int(value)  # the sum of integers
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dt.datetime):
        text = value.isoformat(" ")
        return text.rstrip("0") if value.microsecond else text
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | dict):
        return orjson.dumps(value, default=str).decode()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def _field(value: Any) -> dict[str, Any]:
    """The Field union of a value."""
    if value is None:
        return {"isNull": True}
    if isinstance(value, bool):
        return {"booleanValue": value}
    if isinstance(value, int):
        return {"longValue": value}
    if isinstance(value, float):
        return {"doubleValue": value}
    return {"stringValue": value}


def metadata(name: str, kind: str) -> dict[str, Any]:
    """The ColumnMetadata of a column of a DuckDB type."""
    type_name, precision, scale = dialect.api_type(kind)
    return {
        "isCaseSensitive": type_name in ("varchar", "super"),
        "isCurrency": False,
        "isSigned": type_name.startswith(("int", "float", "numeric")),
        "label": name,
        "name": name,
        "nullable": 1,
        "precision": precision,
        "scale": scale,
        "schemaName": "",
        "tableName": "",
        "typeName": type_name,
        "length": 0,
    }


def _csv(rows: list[tuple[Any, ...]]) -> list[dict[str, str]]:
    text = io.StringIO()
    csv.writer(text).writerows(
        [str(value).lower() if isinstance(value, bool) else value for value in row] for row in rows
    )
    return [{"CSVRecords": text.getvalue()}]
