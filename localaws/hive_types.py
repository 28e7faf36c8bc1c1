"""Hive column types, as the Glue catalog spells them, and their names in the SQL engines."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import pyarrow as pa

#: Hive's name, DuckDB's name, Athena's name.
_SCALARS = {
    "boolean": ("BOOLEAN", "boolean"),
    "tinyint": ("TINYINT", "tinyint"),
    "smallint": ("SMALLINT", "smallint"),
    "int": ("INTEGER", "integer"),
    "bigint": ("BIGINT", "bigint"),
    "float": ("FLOAT", "float"),
    "double": ("DOUBLE", "double"),
    "string": ("VARCHAR", "varchar"),
    "varchar": ("VARCHAR", "varchar"),
    "char": ("VARCHAR", "char"),
    "binary": ("BLOB", "varbinary"),
    "date": ("DATE", "date"),
    "timestamp": ("TIMESTAMP", "timestamp"),
    "decimal": ("DECIMAL", "decimal"),
}
_ALIASES = {"integer": "int", "long": "bigint", "real": "float", "numeric": "decimal"}
_ATHENA_TO_HIVE = {"varchar": "string", "char": "string", "varbinary": "binary", "real": "float"}
_TOKEN = re.compile(r"\s*([A-Za-z_][\w$-]*|`[^`]+`|\"[^\"]+\"|\d+|[<>(),:])")
_INTEGERS = ("tinyint", "smallint", "int", "bigint")


class HiveTypeError(ValueError):
    """A type that Hive does not have."""


@dataclass(frozen=True)
class HiveType:
    """A parsed type; `children` are what it holds, `fields` a struct's, `numbers` a decimal's."""

    name: str
    children: tuple[HiveType, ...] = ()
    fields: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()

    def __str__(self) -> str:
        if self.fields:
            inner = ",".join(f"{f}:{c}" for f, c in zip(self.fields, self.children, strict=True))
            return f"struct<{inner}>"
        if self.children:
            return f"{self.name}<{','.join(map(str, self.children))}>"
        if self.numbers:
            return f"{self.name}({','.join(map(str, self.numbers))})"
        return self.name

    @property
    def duckdb(self) -> str:
        """The type in DuckDB's SQL."""
        if self.name == "array":
            return f"{self.children[0].duckdb}[]"
        if self.name == "map":
            return f"MAP({self.children[0].duckdb}, {self.children[1].duckdb})"
        if self.name == "struct":
            pairs = zip(self.fields, self.children, strict=True)
            inner = ", ".join(f'"{f}" {c.duckdb}' for f, c in pairs)
            return f"STRUCT({inner})"
        if self.name == "decimal":
            return f"DECIMAL({self.numbers[0]},{self.numbers[1]})"
        return _SCALARS[self.name][0]

    @property
    def athena(self) -> str:
        """The type as Athena names it in messages and in information_schema."""
        if self.name == "struct":
            pairs = zip(self.fields, self.children, strict=True)
            return f"row({', '.join(f'{f} {c.athena}' for f, c in pairs)})"
        if self.children:
            return f"{self.name}({', '.join(c.athena for c in self.children)})"
        if self.numbers:
            return f"{self.athena_base}({','.join(map(str, self.numbers))})"
        return self.athena_base

    @property
    def athena_base(self) -> str:
        """Athena's name without parameters, e.g. ``decimal`` or ``row``."""
        return "row" if self.name == "struct" else _SCALARS.get(self.name, ("", self.name))[1]

    def accepts(self, other: HiveType) -> bool:
        """Whether values of a partition that declares `other` can be read as this type."""
        if self == other:
            return True
        for family in (_INTEGERS, ("float", "double"), ("char", "varchar", "string")):
            if self.name in family and other.name in family:
                return family.index(other.name) <= family.index(self.name)
        return False

    def reads(self, found: pa.DataType) -> bool:
        """Whether a Parquet column of type `found` can be read as this type without harm."""
        if isinstance(found, pa.DictionaryType):
            found = found.value_type
        if pa.types.is_null(found):
            return True
        if self.name == "array":
            return pa.types.is_list(found) and self.children[0].reads(found.value_type)
        if self.name == "map":
            return (
                pa.types.is_map(found)
                and self.children[0].reads(found.key_type)
                and self.children[1].reads(found.item_type)
            )
        if self.name == "struct":
            if not pa.types.is_struct(found):
                return False
            have = {f.name.lower(): f.type for f in found}
            pairs = zip(self.fields, self.children, strict=True)
            return all(f.lower() not in have or c.reads(have[f.lower()]) for f, c in pairs)
        if self.name in _INTEGERS:
            wide = _INTEGERS.index(self.name)
            narrower = (pa.int8(), pa.int16(), pa.int32(), pa.int64())[: wide + 1]
            # Parquet keeps every integer up to 32 bits as INT32.
            return found in narrower or (wide < 2 and found == pa.int32())
        if self.name in ("string", "varchar", "char", "binary"):
            return pa.types.is_string(found) or pa.types.is_binary(found)
        if self.name == "decimal":
            return pa.types.is_decimal(found) or found in (pa.int32(), pa.int64())
        if self.name == "double":
            return found in (pa.float32(), pa.float64())
        return {
            "boolean": pa.types.is_boolean,
            "float": pa.types.is_float32,
            "date": pa.types.is_date32,
            "timestamp": pa.types.is_timestamp,
        }[self.name](found)


@functools.lru_cache(4096)
def parse(text: str) -> HiveType:
    """Parse a type as the catalog (``struct<a:int>``) or Athena (``row(a integer)``) spells it.

    Raises:
        HiveTypeError: for a type that does not exist.
    """
    tokens = _TOKEN.findall(text)
    if not tokens or "".join(tokens) != re.sub(r"\s", "", text):
        raise HiveTypeError(f"'{text}' is not a type")
    try:
        parsed = _parse(tokens)
    except IndexError:
        raise HiveTypeError(f"'{text}' is not a complete type") from None
    if tokens:
        raise HiveTypeError(f"'{text}' is not a type: unexpected '{tokens[0]}'")
    return parsed


def _parse(tokens: list[str]) -> HiveType:
    name = tokens.pop(0).lower()
    name = _ALIASES.get(name, name)
    name = _ATHENA_TO_HIVE.get(name, name) if tokens[:1] != ["("] else name
    if name in ("array", "map", "struct", "row"):
        if tokens.pop(0) not in "<(":
            raise HiveTypeError(f"{name} needs the types it holds, e.g. {name}<string>")
        fields, children = [], []
        while True:
            if name in ("struct", "row"):
                fields.append(tokens.pop(0).strip('`"').lower())
                if tokens[0] == ":":
                    tokens.pop(0)
            children.append(_parse(tokens))
            if tokens.pop(0) != ",":
                break
        name = "struct" if name == "row" else name
        if len(children) != {"array": 1, "map": 2}.get(name, len(children)):
            raise HiveTypeError(f"{name} does not hold {len(children)} types")
        return HiveType(name, tuple(children), tuple(fields))
    numbers: list[int] = []
    if tokens[:1] == ["("]:
        tokens.pop(0)
        while tokens[0] != ")":
            number = tokens.pop(0)
            if number != ",":
                numbers.append(int(number))
        tokens.pop(0)
    if name == "timestamp":  # Athena's timestamp(3) is Hive's timestamp
        numbers = []
    if name not in _SCALARS:
        raise HiveTypeError(f"'{name}' is not a type of Hive")
    if name == "decimal":
        numbers = (numbers + [10, 0][len(numbers) :])[:2]
    return HiveType(name, numbers=tuple(numbers))
