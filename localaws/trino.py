"""Athena's SQL on DuckDB: the Trino dialect by sqlglot, and what sqlglot leaves different."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import duckdb
import sqlglot
from sqlglot import exp
from sqlglot.dialects.trino import Trino
from sqlglot.errors import ErrorLevel, SqlglotError
from sqlglot.tokens import TokenType

#: Functions that DuckDB lacks, or means differently (those are named ``trino_*``).
MACROS = Path(__file__).with_name("trino.sql").read_text()
#: Joda patterns (format_datetime) to strftime's.
_JODA = {
    "yyyy": "%Y", "yy": "%y", "MMMM": "%B", "MMM": "%b", "MM": "%m", "dd": "%d", "HH": "%H",
    "hh": "%I", "mm": "%M", "ss": "%S", "SSS": "%g", "EEEE": "%A", "EEE": "%a", "a": "%p",
    "M": "%-m", "d": "%-d", "H": "%-H", "Z": "%z", "D": "%j",
}  # fmt: skip
_LAMBDA_ON_LIST = {"ANY_MATCH": "list_bool_or", "ALL_MATCH": "list_bool_and"}


def connect(memory_limit: str, temp_folder: str, readable: list[str]) -> duckdb.DuckDBPyConnection:
    """A DuckDB of its own, in memory, that can read and write under `readable` only."""
    connection = duckdb.connect()
    folders = ", ".join(f"'{folder}'" for folder in [*readable, temp_folder])
    for setting in (
        "TimeZone = 'UTC'",
        "integer_division = true",
        "threads = 2",
        f"memory_limit = '{memory_limit}'",
        f"temp_directory = '{temp_folder}'",
        f"allowed_directories = [{folders}]",
        "enable_external_access = false",
    ):
        connection.execute(f"SET {setting}")
    connection.execute(MACROS)
    connection.execute("SET lock_configuration = true")
    return connection


def parse(sql: str) -> exp.Expression:
    """Parse one Trino statement.

    Raises:
        SqlglotError: with a sentence that says where.
    """
    trees = [tree for tree in sqlglot.parse(sql, read="trino") if tree is not None]
    if len(trees) != 1:
        raise SqlglotError("Only one sql statement is allowed")
    return name_columns(trees[0])


def fill(sql: str, values: list[str]) -> str:
    """The statement with the literals `values` in place of its question marks.

    Raises:
        ValueError: when there are more or fewer marks than values.
    """
    marks = [t.start for t in Trino().tokenize(sql) if t.token_type is TokenType.PLACEHOLDER]
    if len(marks) != len(values):
        raise ValueError(f"expected {len(marks)} but found {len(values)}")
    for at, value in reversed(list(zip(marks, values, strict=True))):
        sql = f"{sql[:at]}{literal(value)}{sql[at + 1 :]}"
    return sql


def literal(value: str) -> str:
    """An execution parameter: what is no constant of SQL is a text."""
    try:
        constant = sqlglot.parse_one(value, read="trino")
    except SqlglotError:
        constant = None
    if constant is None or constant.find(exp.Column, exp.Query, exp.Command, exp.Placeholder):
        return exp.Literal.string(value).sql(dialect="trino")
    return constant.sql(dialect="trino")


def name_columns(tree: exp.Expression) -> exp.Expression:
    """Give unnamed columns the names they have in Trino: _col0, _col1 …"""
    for select in tree.find_all(exp.Select):
        for index, column in enumerate(select.expressions):
            if not isinstance(column, exp.Alias | exp.Column | exp.Dot | exp.Star):
                column.replace(exp.alias_(column.copy(), f"_col{index}"))
    return tree


def explain(error: SqlglotError) -> str:
    """A syntax error in Trino's words."""
    for detail in getattr(error, "errors", []):
        what = re.sub(r"\s*but got <Token.*", "", detail["description"], flags=re.DOTALL).rstrip(
            "."
        )
        found = detail["highlight"] or "<EOF>"
        return f"line {detail['line']}:{detail['col']}: mismatched input '{found}'. {what}"
    return re.sub(r"\x1b\[\d+m", "", str(error)).split("\n")[0]


def to_duckdb(tree: exp.Expression) -> str:
    """The statement in DuckDB's SQL (the tree given is left as it is)."""
    tree = tree.copy()
    for node in reversed(list(tree.walk())):  # children first
        rewrite = _REWRITES.get(type(node))
        if rewrite and (new := rewrite(node)) is not node:
            node.replace(new)
    return tree.sql(dialect="duckdb", unsupported_level=ErrorLevel.RAISE)


def _call(name: str, *arguments: exp.Expression | None) -> exp.Anonymous:
    return exp.Anonymous(this=name, expressions=[a for a in arguments if a is not None])


def _cast(node: exp.Expression) -> exp.Expression:
    to = node.args["to"]
    if type(node) is exp.Cast and to.is_type("varchar", "text", "char") and not to.expressions:
        if isinstance(node.this, exp.Literal) and node.this.is_string:
            return node
        return _call("trino_text", node.this)
    return node


def _type(node: exp.Expression) -> exp.Expression:
    # timestamp(3) would be a type of its own in DuckDB, with fewer functions
    if node.is_type("timestamp", "timestamptz") and node.expressions:
        node.set("expressions", [])
    return node


def _plus(node: exp.Expression) -> exp.Expression:
    step = node.args.get("expression")
    if isinstance(step, exp.Interval):
        if isinstance(node, exp.Sub):
            step = exp.Neg(this=exp.Paren(this=step))
        return _call("trino_plus", node.this, step)
    return node


def _date_add(node: exp.Expression) -> exp.Expression:
    step = exp.Interval(this=exp.Paren(this=node.expression), unit=node.args["unit"])
    return _call("trino_plus", node.this, step)


def _date_diff(node: exp.Expression) -> exp.Expression:
    # Trino counts whole units between the two, DuckDB's date_diff the boundaries crossed
    unit = exp.Literal.string(node.args["unit"].name.lower())
    return _call("date_sub", unit, node.expression, node.this)


def _date_trunc(node: exp.Expression) -> exp.Expression:
    unit = exp.Literal.string(node.args["unit"].name.lower())
    return _call("trino_date_trunc", unit, node.this)


def _regexp_replace(node: exp.Expression) -> exp.Expression:
    replacement = node.args.get("replacement")
    if isinstance(replacement, exp.Literal):
        text = re.sub(r"\$(\d)", r"\\\1", replacement.this)
        node.set("replacement", exp.Literal.string(text))
    return node


def _regexp_extract(node: exp.Expression) -> exp.Expression:
    return _call("trino_regexp_extract", node.this, node.expression, node.args.get("group"))


def _json_extract(name: str) -> Callable[[exp.Expression], exp.Expression]:
    def rewrite(node: exp.Expression) -> exp.Expression:
        path = node.expression
        if isinstance(path, exp.JSONPath):
            path = exp.Literal.string(path.sql(dialect="duckdb").strip("'"))
        return _call(name, node.this, path)

    return rewrite


def _reduce(node: exp.Expression) -> exp.Expression:
    finish = node.args.get("finish")
    if not finish:
        return node
    node.set("finish", None)
    if isinstance(finish, exp.Lambda) and finish.this == finish.expressions[0]:
        return node
    listed = _call("list_transform", exp.Array(expressions=[node.copy()]), finish)
    return _call("list_extract", listed, exp.Literal.number(1))


def _at_time_zone(node: exp.Expression) -> exp.Expression:
    return _call("at_timezone", node.this, node.args["zone"])


def _unnest(node: exp.Expression) -> exp.Expression:
    """Trino's UNNEST takes several arrays, maps and rows: a lateral SELECT with one column each."""
    if not isinstance(node.parent, exp.From | exp.Join):
        return node
    sources = node.expressions
    alias = node.args.get("alias")
    offset = node.args.get("offset")
    width = len(alias.columns) if alias else 0
    if isinstance(offset, exp.Identifier):  # sqlglot takes the ordinality out of the alias
        alias.append("columns", offset)
    elif offset:
        width -= 1
    if len(sources) == 1 and width > 1:
        # Two names for one source: a map's keys and values, or the fields of rows.
        rows = sources[0]
        entries = rows if width != 2 or _is_row_array(rows) else _call("map_entries", rows)
        columns = [_call("unnest", entries, exp.var("max_depth := 2"))]
        sources = [_call("map_keys", rows)] if width == 2 else [rows]
    else:
        columns = [_call("unnest", source) for source in sources]
    if offset:
        longest = _call("greatest", *(_call("len", s.copy()) for s in sources))
        columns.append(_call("unnest", _call("generate_series", exp.Literal.number(1), longest)))
    return exp.Lateral(this=exp.Subquery(this=exp.select(*columns)), alias=alias)


def _is_row_array(node: exp.Expression) -> bool:
    return isinstance(node, exp.Array | exp.Cast | exp.Anonymous)


def _anonymous(node: exp.Expression) -> exp.Expression:
    name = node.name.upper()
    arguments = node.expressions
    if name in _LAMBDA_ON_LIST or name == "NONE_MATCH":
        found = _call(
            _LAMBDA_ON_LIST.get(name, "list_bool_or"),
            _call("list_transform", arguments[0], arguments[1]),
        )
        empty = exp.Boolean(this=name != "ANY_MATCH")
        if name == "NONE_MATCH":
            return exp.Coalesce(this=exp.Not(this=found), expressions=[empty])
        return exp.Coalesce(this=found, expressions=[empty])
    if name in ("MAP_FILTER", "TRANSFORM_VALUES", "TRANSFORM_KEYS"):
        return _map_lambda(name, arguments[0], arguments[1])
    if name == "FORMAT_DATETIME":
        return _call("strftime", arguments[0], _joda(arguments[1]))
    if name == "PARSE_DATETIME":
        return _call("strptime", arguments[0], _joda(arguments[1]))
    if name == "MILLISECOND":
        return _call("trino_millisecond", *arguments)
    return node


def _map_lambda(name: str, source: exp.Expression, function: exp.Expression) -> exp.Expression:
    key, value = (variable.name for variable in function.expressions)

    def entry(node: exp.Expression) -> exp.Expression:
        if isinstance(node, exp.Column | exp.Identifier) and node.name in (key, value):
            return exp.column("value" if node.name == value else "key", "entry_")
        return node

    body = function.this.transform(entry)
    entries = _call("map_entries", source)
    variable = [exp.to_identifier("entry_")]
    if name == "MAP_FILTER":
        kept = _call("list_filter", entries, exp.Lambda(this=body, expressions=variable))
        return _call("map_from_entries", kept)
    parts = {"key": exp.column("key", "entry_"), "value": exp.column("value", "entry_")}
    parts["value" if name == "TRANSFORM_VALUES" else "key"] = body
    struct = exp.Struct(
        expressions=[
            exp.PropertyEQ(this=exp.to_identifier(part), expression=value)
            for part, value in parts.items()
        ]
    )
    made = _call("list_transform", entries, exp.Lambda(this=struct, expressions=variable))
    return _call("map_from_entries", made)


def _joda(pattern: exp.Expression) -> exp.Expression:
    if not isinstance(pattern, exp.Literal):
        raise SqlglotError("the pattern of format_datetime and parse_datetime must be a literal")

    def one(match: re.Match[str]) -> str:
        if match[0].startswith("'"):
            return match[0].strip("'") or "'"
        if match[0] not in _JODA:
            raise SqlglotError(f"the date pattern '{match[0]}' is not supported here")
        return _JODA[match[0]]

    return exp.Literal.string(re.sub(r"'[^']*'|([A-Za-z])\1*", one, pattern.this))


def _to_call(name: str, *members: str) -> Callable[[exp.Expression], exp.Expression]:
    def rewrite(node: exp.Expression) -> exp.Expression:
        return _call(name, *(node.args.get(member) for member in members))

    return rewrite


def _rand(node: exp.Expression) -> exp.Expression:
    return _call("trino_random", node.this) if node.this else node


def _format(node: exp.Expression) -> exp.Expression:
    return _call("printf", node.this, *node.expressions)


_REWRITES: dict[type, Callable[[exp.Expression], exp.Expression]] = {
    exp.Anonymous: _anonymous,
    exp.Add: _plus,
    exp.Sub: _plus,
    exp.AtTimeZone: _at_time_zone,
    exp.ArrayDistinct: _to_call("trino_array_distinct", "this"),
    exp.ArraySize: _to_call("trino_cardinality", "this"),
    exp.Cast: _cast,
    exp.DataType: _type,
    exp.DateAdd: _date_add,
    exp.DateDiff: _date_diff,
    exp.DateTrunc: _date_trunc,
    exp.Format: _format,
    exp.GenerateSeries: _to_call("trino_sequence", "start", "end", "step"),
    exp.JSONExtract: _json_extract("trino_json"),
    exp.JSONExtractScalar: _json_extract("trino_json_scalar"),
    exp.Rand: _rand,
    exp.Reduce: _reduce,
    exp.RegexpExtract: _regexp_extract,
    exp.RegexpReplace: _regexp_replace,
    exp.SHA: _to_call("trino_sha1", "this"),
    exp.SplitPart: _to_call("trino_split_part", "this", "delimiter", "part_index"),
    exp.StrToMap: _to_call("split_to_map", "this", "pair_delim", "key_value_delim"),
    exp.TimestampTrunc: _date_trunc,
    exp.Unnest: _unnest,
}
