"""JSON text to map<string,string>, strict: every field, every digit, no guess.

Spark's reader alone is too kind: it stops at the first value, keeps the last of two equal keys,
turns 19.990000000000001 into a double and a lone surrogate into "?". See docs/adr/0006.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

STRICT = {"allowNonNumericNumbers": "false", "allowSingleQuotes": "false"}

# Jackson's limit of 1,000 levels, one of them the array we put around a text.
MAX_DEPTH = 1000

# Closes the array around a text, so that a text which closes it itself ("{}] junk") is noticed.
END = '{"\\u0001end":""}'
END_KEY = "\u0001end"

# Numbers that change when Jackson copies them: fractions, exponents and minus zero. Such a number
# is put between quotes, after a private-use character by which it is found again.
MARK = "\ue000"
MARKED_NUMBER = f'"?{MARK}([-+.0-9eE]+)"?'
WHOLE = "-?(?:0|[1-9][0-9]{0,999}+)"
EXPONENT = "[eE][+-]?[0-9]{1,9}+"
FRAGILE = rf"(?:{WHOLE}(?:\.[0-9]{{1,999}}+(?:{EXPONENT})?|{EXPONENT})|-0)(?=\s*+[,}}\]])"
# Quick, but also finds what only looks like a number inside a string. The quote then set ends that
# string before the mark, which no JSON allows: the text is refused, and read again by the second.
FRAGILE_ANYWHERE = rf"([:,\[]\s*+)({FRAGILE})"
# All loops are possessive: they run without recursion, however long the line.
STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
FRAGILE_OUTSIDE_STRINGS = (
    rf'(?s)\G((?:[^":,\[]++|{STRING}|[:,\[](?!\s*+{FRAGILE}))*+[:,\[]\s*+)({FRAGILE})'
)
NEXT_JOINT = rf'(?s)\G((?:[^"}}]++|{STRING}|\}}(?!\s*+\{{))*+\}})\s*+(?=\{{)'
NOT_A_JSON_NUMBER = r"[:,\[]\s*+[-+]?(?:NaN|Infinity|INF)\s*+[,}\]]"
LONE_SURROGATE = (
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    r"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)


def with_object(rows: DataFrame, text: str, into: str) -> DataFrame:
    """Adds the map `into` of the JSON object in the column `text`; null where it is not one object.

    Equal keys are all kept (`has_equal_keys` sees them); a value that is not a string is its JSON
    text, numbers digit by digit as sent.
    """
    source = F.col(text)

    def marked(pattern: str) -> Column:
        return _values(F.regexp_replace(source, pattern, f'$1"{MARK}$2"'))

    unmarked = F.transform_values(
        into,
        lambda _, value: F.when(
            value.contains(MARK), F.regexp_replace(value, MARKED_NUMBER, "$1")
        ).otherwise(value),
    )
    is_fragile = source.rlike(FRAGILE_ANYWHERE) & ~source.contains(MARK)
    return (
        rows.withColumn("_fragile", is_fragile)
        .withColumn(
            "_values",
            F.when(F.col("_fragile"), marked(FRAGILE_ANYWHERE)).otherwise(_values(source)),
        )
        .withColumn(
            "_values",
            F.when(
                F.col("_fragile") & F.col("_values").isNull(), marked(FRAGILE_OUTSIDE_STRINGS)
            ).otherwise(F.col("_values")),
        )
        .withColumn(into, F.when(_count(F.col("_values")) == 1, F.col("_values")[0]))
        .withColumn(into, F.when(F.col("_fragile"), unmarked).otherwise(F.col(into)))
        .drop("_fragile", "_values")
    )


def has_equal_keys(fields: Column) -> Column:
    """True where a map holds a key twice."""
    return F.size(F.map_keys(fields)) != F.size(F.array_distinct(F.map_keys(fields)))


def has_lone_surrogate(text: Column) -> Column:
    """True where a \\uD800 escape lacks its other half."""
    may_have = text.contains("\\ud") | text.contains("\\uD")
    # An escaped backslash before "ud800" is text, not an escape.
    return may_have & F.regexp_replace(text, r"\\\\", " ").rlike(LONE_SURROGATE)


def is_utf8(text: Column) -> Column:
    """True where the bytes survive decoding."""
    return F.decode(text.cast("binary"), "UTF-8") == text


def syntax_reason(text: Column) -> Column:
    """The reason why `text` is not one JSON object."""
    wrapped = F.from_json(
        F.concat(F.lit('{"value":'), text, F.lit(f",{END[1:]}")), "map<string,string>", STRICT
    )
    split = _values(F.regexp_replace(text, NEXT_JOINT, "$1,"))
    brackets = F.length(F.regexp_replace(text, r"[^\[{]+", ""))
    return (
        F.when(wrapped.isNotNull() & F.map_contains_key(wrapped, END_KEY), "NOT_AN_OBJECT")
        .when(_count(split) > 1, "CONCATENATED")
        .when(text.rlike(NOT_A_JSON_NUMBER) | text.rlike("[0-9]{1001}"), "NUMERIC")
        .when(brackets >= MAX_DEPTH, "DEPTH")
        .otherwise("JSON_SYNTAX")
    )


def with_containers(rows: DataFrame, text: str, names: list[str], into: str) -> DataFrame:
    """Adds the names, among the given, whose value in the object is an object or an array."""
    for kind in ("map<string,string>", "array<string>"):
        schema = ",".join(f"`{name}` {kind}" for name in names)
        rows = rows.withColumn(f"_{kind[:3]}", F.from_json(text, schema, STRICT))
    found = (
        F.when(F.col(f"_map.{name}").isNotNull() | F.col(f"_arr.{name}").isNotNull(), name)
        for name in names
    )
    return rows.withColumn(into, F.concat_ws(", ", *found)).drop("_map", "_arr")


def _values(text: Column) -> Column:
    """The objects of a comma-separated text, then the end mark."""
    return F.from_json(
        F.concat(F.lit("["), text, F.lit(f",{END}]")), "array<map<string,string>>", STRICT
    )


def _count(values: Column) -> Column:
    """How many objects were read to the end of the text; 0 where something else was there."""
    is_whole = F.map_contains_key(F.element_at(values, -1), END_KEY)
    is_objects = ~F.exists(values, lambda value: value.isNull())
    return F.when(is_whole & is_objects, F.size(values) - 1).otherwise(0)
