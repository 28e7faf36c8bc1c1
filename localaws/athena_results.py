"""What a query of Athena leaves in S3 and reads back: a CSV, its metadata, rows by the page."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import duckdb
import orjson

from localaws.service import Context

#: How much of a result is read from S3 at a time.
CHUNK_BYTES = 1 << 20
_FIELD = re.compile(rb'(?:^|,)("(?:[^"]|"")*"|[^,"]*)')
#: DuckDB type id -> Athena type, precision.
_TYPES = {
    "boolean": ("boolean", 0),
    "tinyint": ("tinyint", 3),
    "utinyint": ("smallint", 5),
    "smallint": ("smallint", 5),
    "usmallint": ("integer", 10),
    "integer": ("integer", 10),
    "uinteger": ("bigint", 19),
    "bigint": ("bigint", 19),
    "ubigint": ("bigint", 19),
    "hugeint": ("bigint", 19),
    "uhugeint": ("bigint", 19),
    "float": ("float", 17),
    "double": ("double", 17),
    "varchar": ("varchar", 2147483647),
    "blob": ("varbinary", 1073741824),
    "date": ("date", 0),
    "time": ("time", 3),
    "timestamp": ("timestamp", 3),
    "timestamp_s": ("timestamp", 3),
    "timestamp_ms": ("timestamp", 3),
    "timestamp_ns": ("timestamp", 3),
    "timestamp with time zone": ("timestamp with time zone", 3),
    "interval": ("interval day to second", 0),
    "list": ("array", 0),
    "array": ("array", 0),
    "struct": ("row", 0),
    "map": ("map", 0),
    "uuid": ("uuid", 0),
    "null": ("unknown", 0),
}


def column_info(name: str, kind: Any) -> dict[str, Any]:
    """Athena's ColumnInfo of a column whose DuckDB type is `kind`."""
    base, precision = ("json", 0) if str(kind) == "JSON" else _TYPES.get(kind.id, ("varchar", 0))
    scale = 0
    if kind.id == "decimal":
        (_, precision), (_, scale) = kind.children
        base = "decimal"
    return text_column(name, base, precision, scale)


def text_column(
    name: str, kind: str = "varchar", precision: int = 0, scale: int = 0
) -> dict[str, Any]:
    """A ColumnInfo, by default a text column such as SHOW's."""
    return {
        "CatalogName": "hive",
        "SchemaName": "",
        "TableName": "",
        "Name": name.lower(),
        "Label": name.lower(),
        "Type": kind,
        "Precision": precision,
        "Scale": scale,
        "Nullable": "UNKNOWN",
        "CaseSensitive": kind in ("varchar", "char"),
    }


def as_text(value: str, kind: Any) -> str:
    """SQL for `value` (of DuckDB type `kind`) as Athena writes it in a result."""
    if kind.id in ("list", "array"):
        item = as_text("x", dict(kind.children)["child"])
        listed = f"list_transform({value}, lambda x: coalesce({item}, 'null'))"
        return f"'[' || array_to_string({listed}, ', ') || ']'"
    if kind.id == "map":
        parts = dict(kind.children)
        item = (
            f"{as_text('x.key', parts['key'])} || '=' || "
            f"coalesce({as_text('x.value', parts['value'])}, 'null')"
        )
        listed = f"list_transform(map_entries({value}), lambda x: {item})"
        return f"'{{' || array_to_string({listed}, ', ') || '}}'"
    if kind.id == "struct":
        fields = " || ', ' || ".join(
            f"'{_row_name(name)}=' || "
            f"coalesce({as_text(f'struct_extract({value}, {_quoted(name)})', child)}, 'null')"
            for name, child in kind.children
        )
        return f"CASE WHEN {value} IS NOT NULL THEN '{{' || {fields} || '}}' END"
    if kind.id == "blob":
        return f"rtrim(regexp_replace(lower(hex({value})), '(..)', '\\1 ', 'g'))"
    if kind.id == "interval":
        micros = f"CAST(epoch({value}) * 1e6 AS BIGINT)"
        return (
            f"CAST({micros} // 86400000000 AS VARCHAR) || ' ' || "
            f"strftime(make_timestamp(abs({micros}) % 86400000000), '%H:%M:%S.%g')"
        )
    return f"trino_text({value})"


def _row_name(name: str) -> str:
    # An anonymous row's fields are field0, field1 … to Athena, _0, _1 … to sqlglot.
    return re.sub(r"^_(\d+)$", r"field\1", name).replace("'", "''")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def write_csv(
    connection: duckdb.DuckDBPyConnection, sql: str, path: Path
) -> tuple[list[dict[str, Any]], int]:
    """Stream a query's rows to a CSV as Athena writes it; returns its columns and row count."""
    relation = connection.sql(sql)
    columns = [column_info(*pair) for pair in zip(relation.columns, relation.types, strict=True)]
    names = [f"c{index}" for index in range(len(columns))]
    texts = ", ".join(
        f"{as_text(name, kind)} AS {name}" for name, kind in zip(names, relation.types, strict=True)
    )
    header = ",".join('"' + c["Name"].replace('"', '""') + '"' for c in columns)
    body = path.with_suffix(".rows")
    (count,) = connection.execute(
        f"COPY (SELECT {texts} FROM ({sql}) AS q({', '.join(names)})) TO {_quoted(str(body))} "
        "(FORMAT csv, HEADER false, FORCE_QUOTE *, NULL '')"
    ).fetchone() or (0,)
    with path.open("wb") as out:
        out.write(f"{header}\n".encode())
        with body.open("rb") as rows:
            while chunk := rows.read(CHUNK_BYTES):
                out.write(chunk)
    body.unlink()
    return columns, count


def put(
    context: Context,
    location: str,
    body: Any,
    columns: list[dict[str, Any]],
    encryption: dict[str, str],
) -> None:
    """Put a result and, beside it, its metadata object."""
    bucket, key = split(location)
    s3 = context.client("s3")
    kind = "text/csv" if key.endswith(".csv") else "application/octet-stream"
    s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=kind, **encryption)
    metadata = orjson.dumps(columns)
    s3.put_object(Bucket=bucket, Key=f"{key}.metadata", Body=metadata, **encryption)


def columns_of(context: Context, location: str) -> list[dict[str, Any]]:
    """The columns of a result."""
    bucket, key = split(location)
    answer = context.client("s3").get_object(Bucket=bucket, Key=f"{key}.metadata")
    return orjson.loads(answer["Body"].read())


def rows(
    context: Context, location: str, offset: int, count: int
) -> tuple[list[list[str | None]], int | None]:
    """At most `count` rows from byte `offset` on, and the offset of the next row, if any."""
    found: list[list[str | None]] = []
    text = location.endswith(".txt")
    with contextlib.closing(_lines(context, location, offset, joined=not text)) as lines:
        for line in lines:
            if len(found) == count:
                return found, offset
            offset += len(line)
            line = line.removesuffix(b"\n")
            found.append([line.decode()] if text else _fields(line))
    return found, None


def _fields(line: bytes) -> list[str | None]:
    # NULL is an empty field, an empty text a quoted one.
    return [
        field[1:-1].replace(b'""', b'"').decode() if field else None
        for field in _FIELD.findall(line)
    ]


def _lines(
    context: Context, location: str, offset: int, *, joined: bool
) -> Generator[bytes, None, None]:
    """Lines with their ends; with `joined` a quoted field may hold line ends."""
    bucket, key = split(location)
    s3 = context.client("s3")
    size = s3.head_object(Bucket=bucket, Key=key)["ContentLength"]
    buffer = b""
    while offset < size:
        last = min(offset + CHUNK_BYTES, size) - 1
        buffer += s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={offset}-{last}")[
            "Body"
        ].read()
        offset = last + 1
        start = scanned = 0
        while (end := buffer.find(b"\n", scanned)) >= 0:
            scanned = end + 1
            if not joined or buffer.count(b'"', start, end) % 2 == 0:
                yield buffer[start : end + 1]
                start = end + 1
        buffer = buffer[start:]
    if buffer:
        yield buffer


def split(location: str) -> tuple[str, str]:
    """Bucket and key of an ``s3://`` address."""
    bucket, _, key = location.removeprefix("s3://").partition("/")
    return bucket, key
