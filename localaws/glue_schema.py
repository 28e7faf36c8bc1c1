"""What columns a file has, as a crawler sees it: Parquet by its footer, JSON lines by a sample."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from localaws.hive_types import HiveType

#: Column names, in lower case, and their types; None where only nulls were seen.
Columns = dict[str, HiveType | None]

STRING = HiveType("string")
#: How much of a JSON file is looked at.
_SAMPLE_BYTES = 1 << 20
#: Types by how much they hold; a column with two of one row becomes the wider.
_WIDENING = (("tinyint", "smallint", "int", "bigint", "double"), ("float", "double"))


def read(path: Path) -> tuple[tuple[str, str] | None, Columns]:
    """A file's format and compression, and its columns; no format when it is empty.

    Raises:
        ValueError: it is neither Parquet nor JSON lines, or Hive lacks a type of it.
        EOFError, BadGzipFile, ArrowException: it is torn.
    """
    with path.open("rb") as file:
        magic = file.read(4)
    if not magic:
        return None, {}
    if magic == b"PAR1":
        schema = pq.read_schema(path)
        return ("parquet", "none"), {column.name.lower(): _arrow(column.type) for column in schema}
    compressed = magic[:2] == b"\x1f\x8b"
    with gzip.open(path) if compressed else path.open("rb") as lines:
        # Only whole lines count: the sample may end in the middle of one.
        sample = lines.read(_SAMPLE_BYTES)
        whole = sample if len(sample) < _SAMPLE_BYTES else sample[: sample.rfind(b"\n") + 1]
    columns: Columns = {}
    good = bad = 0
    for line in filter(bytes.strip, whole.split(b"\n")):
        try:
            record = orjson.loads(line)
            if not isinstance(record, dict):
                raise orjson.JSONDecodeError("not an object", "", 0)
        except orjson.JSONDecodeError:
            bad += 1
            continue
        good += 1
        columns = union(columns, {k.lower(): _json(v) for k, v in record.items()})
    if not good and not bad:
        return None, {}
    if good <= bad:
        raise ValueError("it is neither Parquet nor JSON lines")
    return ("json", "gzip" if compressed else "none"), columns


def _json(value: Any) -> HiveType | None:
    """A JSON value's type; None for null, which any type holds."""
    match value:
        case None:
            return None
        case bool():
            return HiveType("boolean")
        case int():
            return HiveType("int" if -(2**31) <= value < 2**31 else "bigint")
        case float():
            return HiveType("double")
        case list():
            element: HiveType | None = None
            for item in value:
                element = wider(element, _json(item))
            return HiveType("array", (element or STRING,))
        case dict() if value:
            fields = {key.lower(): _json(item) or STRING for key, item in value.items()}
            return HiveType("struct", tuple(fields.values()), tuple(fields))
        case _:
            return STRING


def _arrow(kind: pa.DataType) -> HiveType:
    """A Parquet column's type.

    Raises:
        ValueError: Hive has none for it.
    """
    if pa.types.is_dictionary(kind):
        return _arrow(kind.value_type)
    if pa.types.is_map(kind):
        return HiveType("map", (_arrow(kind.key_type), _arrow(kind.item_type)))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return HiveType("array", (_arrow(kind.value_type),))
    if pa.types.is_struct(kind):
        return HiveType(
            "struct", tuple(_arrow(f.type) for f in kind), tuple(f.name.lower() for f in kind)
        )
    if pa.types.is_decimal(kind):
        return HiveType("decimal", numbers=(kind.precision, kind.scale))
    if pa.types.is_timestamp(kind):
        return HiveType("timestamp")
    name = {
        pa.null(): "string",
        pa.bool_(): "boolean",
        pa.int8(): "tinyint",
        pa.int16(): "smallint",
        pa.int32(): "int",
        pa.int64(): "bigint",
        pa.float32(): "float",
        pa.float64(): "double",
        pa.string(): "string",
        pa.large_string(): "string",
        pa.binary(): "binary",
        pa.large_binary(): "binary",
        pa.date32(): "date",
    }.get(kind)
    if name is None:
        raise ValueError(f"a column of type {kind} has no Hive type")
    return HiveType(name)


def union(left: Columns, right: Columns) -> Columns:
    """Both files' columns; the right one's new ones come last."""
    return left | {name: wider(left.get(name), kind) for name, kind in right.items()}


def wider(left: HiveType | None, right: HiveType | None) -> HiveType | None:
    """The type that holds both; string when none else does, as in Glue."""
    if left is None or right is None or left == right:
        return left or right
    if left.name == right.name == "struct":
        fields = union(
            dict(zip(left.fields, left.children, strict=True)),
            dict(zip(right.fields, right.children, strict=True)),
        )
        return HiveType("struct", tuple(kind or STRING for kind in fields.values()), tuple(fields))
    if left.name == right.name and left.children:
        pairs = zip(left.children, right.children, strict=True)
        return replace(left, children=tuple(wider(a, b) or STRING for a, b in pairs))
    if left.name == right.name == "decimal":
        scale = max(left.numbers[1], right.numbers[1])
        whole = max(kind.numbers[0] - kind.numbers[1] for kind in (left, right))
        return HiveType("decimal", numbers=(min(whole + scale, 38), scale))
    for row in _WIDENING:
        if left.name in row and right.name in row:
            return max(left, right, key=lambda kind: row.index(kind.name))
    return STRING
