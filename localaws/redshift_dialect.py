"""Redshift's SQL as text and tree: reading it, and writing the same meaning for DuckDB."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection
from typing import Any

import duckdb
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

# What sqlglot cannot parse or write is refused here; its own warnings would only repeat that.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)

#: Redshift's lengths where none is given (VARCHAR(MAX) is 65535 bytes).
DEFAULT_LENGTHS = {"VARCHAR": 256, "NVARCHAR": 256, "TEXT": 256, "CHAR": 1, "NCHAR": 1}
MAX_LENGTH = 65535

#: First words of statements that begin or end a transaction.
TRANSACTION_CONTROL = ("BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT")

#: DuckDB's type, the name the Data API gives it, and its precision.
_API_TYPES = {
    "BOOLEAN": ("bool", 1),
    "TINYINT": ("int2", 5),
    "SMALLINT": ("int2", 5),
    "INTEGER": ("int4", 10),
    "BIGINT": ("int8", 19),
    "HUGEINT": ("int8", 19),
    "UBIGINT": ("int8", 19),
    "FLOAT": ("float4", 8),
    "DOUBLE": ("float8", 17),
    "DATE": ("date", 13),
    "TIME": ("time", 15),
    "TIMESTAMP": ("timestamp", 29),
    "TIMESTAMP WITH TIME ZONE": ("timestamptz", 35),
    "BLOB": ("varbyte", 65535),
    '"NULL"': ("varchar", 65535),
    "JSON": ("super", 4194304),
    "INTERVAL": ("interval", 49),
}

#: Functions that sqlglot passes through by name, as DuckDB expressions of their arguments.
_FUNCTIONS: dict[str, str] = {
    "can_json_parse": "json_valid({0})",
    "clock_timestamp": "now()",
    "dexp": "exp({0})",
    "dlog1": "ln({0})",
    "dlog10": "log10({0})",
    "func_sha1": "sha1({0})",
    "get_array_length": "json_array_length({0})",
    "is_array": "json_type({0}) = 'ARRAY'",
    "is_object": "json_type({0}) = 'OBJECT'",
    "is_valid_json": "coalesce(json_valid({0}) AND json_type({0}) = 'OBJECT', false)",
    "is_valid_json_array": "coalesce(json_valid({0}) AND json_type({0}) = 'ARRAY', false)",
    "isnull": "coalesce({0}, {1})",
    "json_array_length": "json_array_length({0})",
    "json_extract_array_element_text": "json_extract_string({0}, '$[' || ({1}) || ']')",
    "json_serialize": "CAST({0} AS VARCHAR)",
    "json_typeof": "lower(json_type({0}))",
    "levenshtein_distance": "levenshtein({0}, {1})",
    "octet_length": "strlen({0})",
    "pg_backend_pid": "1",
    "quote_ident": "'\"' || replace({0}, '\"', '\"\"') || '\"'",
    "quote_literal": "'''' || replace({0}, '''', '''''') || ''''",
    "replicate": "repeat({0}, {1})",
    "timezone": "timezone({0}, {1})",
    "user": "current_user",
}

_NOW = "CAST(now() AT TIME ZONE 'UTC' AS TIMESTAMP)"


class SqlError(Exception):
    """A statement that fails; its text is what DescribeStatement shows as Error."""

    def __init__(self, message: str) -> None:
        super().__init__(f"ERROR: {message}")


# ---------------------------------------------------------------- text


_OPAQUE = re.compile(
    r"""'(?:[^'\\]|\\.|'')*' | "[^"]*" | \$\$.*?\$\$ | --[^\n]* | /\*.*?\*/""",
    re.DOTALL | re.VERBOSE,
)


def masked(sql: str) -> str:
    """`sql` in the same length, with comments blank and what stands in quotes unreadable."""

    def mask(match: re.Match[str]) -> str:
        text = match[0]
        if text.startswith(("--", "/*")):
            return " " * len(text)
        return text[0] + "\0" * (len(text) - 2) + text[-1]

    return _OPAQUE.sub(mask, sql)


def clean(sql: str) -> str:
    """`sql` without comments, blanks and semicolons around it."""
    text = _OPAQUE.sub(lambda m: " " if m[0].startswith(("--", "/*")) else m[0], sql)
    return text.strip().rstrip(";").rstrip()


def statements(sql: str) -> list[str]:
    """The non-empty statements of a text separated by semicolons."""
    ends = [match.start() for match in re.finditer(";", masked(sql))]
    starts = [0, *(end + 1 for end in ends)]
    parts = [sql[start:end] for start, end in zip(starts, [*ends, len(sql)], strict=True)]
    return [part for part in parts if clean(part)]


_PARAMETER = re.compile(r"(?<![:\w]):(\w+)")


def parameter_names(sql: str) -> set[str]:
    """Names that stand in `sql` as ``:name`` (not inside a string, and not a ``::`` cast)."""
    return {match[1] for match in _PARAMETER.finditer(masked(sql))}


def with_parameters(sql: str, values: dict[str, str]) -> str:
    """`sql` with each ``:name`` replaced by its value as a string literal, as Redshift binds it.

    Raises:
        SqlError: for a name without a value.
    """
    for match in reversed(list(_PARAMETER.finditer(masked(sql)))):
        if match[1] not in values:
            raise SqlError(f'syntax error at or near ":" (no parameter is named "{match[1]}")')
        value = exp.Literal.string(values[match[1]]).sql("redshift")
        sql = sql[: match.start()] + value + sql[match.end() :]
    return sql


_ATTRIBUTES = re.compile(
    r"""\s+ (?: DISTSTYLE\s+\w+ | DISTKEY (?:\s*\([^()]*\))?
        | (?:(?:COMPOUND|INTERLEAVED)\s+)? SORTKEY (?:\s*\([^()]*\)|\s+AUTO\b)?
        | ENCODE\s+\w+ | BACKUP\s+(?:YES|NO) | AUTO\s+REFRESH\s+(?:YES|NO) ) (?=[\s,();]|$)""",
    re.IGNORECASE | re.VERBOSE,
)


def without_attributes(sql: str) -> str:
    """A CREATE or ALTER without what only says how Redshift lays rows out on disk."""
    head = _query_start(sql) or len(sql)  # a CTAS keeps its query as it is
    for match in reversed(list(_ATTRIBUTES.finditer(masked(sql)[:head]))):
        sql = f"{sql[: match.start()]} {sql[match.end() :]}"
    return sql


def view_query(sql: str) -> tuple[str, bool]:
    """The query of a CREATE VIEW and whether it is bound late (WITH NO SCHEMA BINDING)."""
    start = _query_start(sql)
    if start is None:
        raise SqlError("syntax error in CREATE VIEW: it has no AS")
    query, late = re.subn(r"(?i)\s+with\s+no\s+schema\s+binding\s*$", "", sql[start:])
    return query.strip(), bool(late)


def _query_start(sql: str) -> int | None:
    """Where the query of a CREATE ... AS begins: behind the first AS outside parentheses."""
    depth = 0
    for match in re.finditer(r"\(|\)|\bas\b", masked(sql), re.IGNORECASE):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth == 0 and match[0] != ")":
            return match.end()
    return None


# ---------------------------------------------------------------- tree


def parse(sql: str) -> exp.Expression:
    """One statement as a tree whose identifiers are folded to lower case.

    Raises:
        SqlError: when it is not Redshift SQL, or not SQL this engine knows.
    """
    try:
        tree = sqlglot.parse_one(sql, read="redshift")
    except SqlglotError as error:
        raise SqlError(f"syntax error: {_plain(error)}") from None
    if isinstance(tree, exp.Command):
        first = " ".join(sql.split()[:4])
        raise SqlError(f'syntax error at or near "{first}" (not a statement this engine knows)')
    for identifier in tree.find_all(exp.Identifier):
        identifier.set("this", identifier.name.lower())
    return tree


def write(tree: exp.Expression) -> str:
    """The DuckDB SQL of a tree that `to_duckdb` has been over."""
    return tree.sql("duckdb", identify=True)


def table(written: str) -> exp.Table:
    """A table's name as a tree, in lower case."""
    try:
        found = exp.to_table(written.strip(), dialect="redshift")
    except SqlglotError:
        raise SqlError(f'syntax error at or near "{written}"') from None
    for identifier in found.find_all(exp.Identifier):
        identifier.set("this", identifier.name.lower())
    return found


#: Names of sqlglot's that are not Redshift's.
_FUNCTION_NAMES = {
    "approx_distinct": "count",
    "current_date": "date",
    "current_timestamp": "getdate",
    "extract": "date_part",
    "group_concat": "listagg",
    "json_extract_scalar": "json_extract_path_text",
    "length": "len",
    "str_position": "position",
    "str_to_time": "to_timestamp",
    "timestamp_trunc": "date_trunc",
    "ts_or_ds_add": "date_add",
    "ts_or_ds_diff": "date_diff",
}


def name_columns(tree: exp.Expression) -> None:
    """Give each unnamed result column Redshift's name for it."""
    for select in tree.find_all(exp.Select):
        for column in select.expressions:
            if column.is_star or isinstance(column, exp.Alias | exp.Column | exp.CurrentUser):
                continue
            inner = column.unnest()
            while isinstance(inner, exp.Cast | exp.Window | exp.WithinGroup | exp.Filter):
                inner = inner.this
            if isinstance(inner, exp.Column | exp.Dot):
                name = inner.name
            elif isinstance(inner, exp.Bracket):
                name = inner.expressions[0].name
            elif isinstance(inner, exp.Anonymous):
                name = inner.name.lower()
            elif isinstance(inner, exp.Func | exp.Case):
                name = inner.sql_name().lower() if isinstance(inner, exp.Func) else "case"
                name = _FUNCTION_NAMES.get(name, name)
            else:
                name = "?column?"
            column.replace(exp.alias_(column.copy(), name, quoted=True))


def partition_condition(table: exp.Table, keys: Collection[str]) -> str:
    """What the WHERE around `table` says of its partition columns alone, in DuckDB's SQL."""
    select = table.find_ancestor(exp.Select)
    where = select.args.get("where") if select else None
    joins = select.args.get("joins") or [] if select else []
    # A row that an outer join fills up with NULLs must not be lost by reading less.
    if where is None or any(
        join.side in ("RIGHT", "FULL") or (join.side and join.this is table) for join in joins
    ):
        return "TRUE"
    names = {table.alias_or_name, ""}
    kept = []
    for condition in where.this.flatten() if isinstance(where.this, exp.And) else [where.this]:
        columns = list(condition.find_all(exp.Column))
        if (
            columns
            and not condition.find(exp.Query, exp.Placeholder)
            and all(column.name in keys and column.table in names for column in columns)
        ):
            bare = condition.copy()
            for column in bare.find_all(exp.Column):
                for part in ("table", "db", "catalog"):
                    column.set(part, None)
            kept.append(f"({write(to_duckdb(bare))})")
    return " AND ".join(kept) or "TRUE"


def to_duckdb(tree: exp.Expression) -> exp.Expression:
    """Replace what Redshift means differently from DuckDB."""
    # Children first: a rewrite keeps them.
    for node in reversed(list(_navigation(tree).walk(bfs=True))):
        rewrite = _REWRITES.get(type(node))
        new = rewrite(node) if rewrite else node
        if new is not node:
            tree = new if node is tree else tree
            node.replace(new)
    return tree


def read_duckdb(sql: str) -> exp.Expression:
    """An expression or statement of DuckDB's own SQL as a tree."""
    return sqlglot.parse_one(sql, read="duckdb")


def _navigation(tree: exp.Expression) -> exp.Expression:
    """SUPER navigation (``t.metadata.utm_source``): a JSON path; text or a number if compared."""
    relations = tree.find_all(exp.Table, exp.Subquery, exp.CTE, exp.UDTF)
    sources = {relation.alias_or_name for relation in relations}
    for node in list(tree.find_all(exp.Column, exp.Dot, exp.Bracket)):
        if isinstance(node.parent, exp.Dot | exp.Bracket) and node.arg_key == "this":
            continue
        steps = _steps(node, sources)
        if steps is None:
            continue
        base, path = steps
        parent = node.parent
        compared = isinstance(parent, exp.Predicate) and not isinstance(parent, exp.Is)
        function = "json_extract_string" if compared else "json_extract"
        value = exp.func(function, base, exp.Literal.string("$" + path), dialect="duckdb")
        if compared and any(other.is_number for other in parent.iter_expressions()):
            value = exp.TryCast(this=value, to=exp.DataType.build("DOUBLE"))
        named = isinstance(parent, exp.Select) and node.arg_key == "expressions"
        node.replace(exp.alias_(value, node.name, quoted=True) if named else value)
    return tree


def _steps(node: exp.Expression, sources: Collection[str]) -> tuple[exp.Expression, str] | None:
    """The column a navigation starts from and its JSON path; None when it does not navigate."""
    if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Identifier):
        base = _steps(node.this, sources) or (node.this, "")
        return base[0], f'{base[1]}."{node.expression.name}"'
    if isinstance(node, exp.Bracket) and isinstance(node.expressions[0], exp.Literal):
        base = _steps(node.this, sources) or (node.this, "")
        key = node.expressions[0]
        return base[0], base[1] + (f'."{key.name}"' if key.is_string else f"[{key.name}]")
    if isinstance(node, exp.Column):
        parts = [part.name for part in node.parts]
        start = 1 if parts[0] in sources else 0
        if len(parts) - start > 1 and (start or len(parts) == 2):
            base = exp.column(parts[start], table=parts[0] if start else None)
            return base, "".join(f'."{part}"' for part in parts[start + 1 :])
    return None


def _cast(node: exp.Cast) -> exp.Expression:
    target = node.to
    if target.this is exp.DataType.Type.SUPER:
        return exp.func("to_json", node.this, dialect="duckdb")
    kind = target.this.name
    if kind in DEFAULT_LENGTHS:
        text = exp.func("super_text", node.this, dialect="duckdb")
        length = _length(target)
        return exp.Left(this=text, expression=exp.Literal.number(length)) if length else text
    node.set("to", data_type(target))
    return node


def data_type(target: exp.DataType) -> exp.DataType:
    """The DuckDB type of a Redshift type.

    Raises:
        SqlError: for a type that Redshift has and this engine does not, or nobody has.
    """
    kind = target.this.name
    if kind == "SUPER":
        return exp.DataType.build("JSON", dialect="duckdb")
    if kind in DEFAULT_LENGTHS:
        return exp.DataType.build("TEXT")
    if kind == "DECIMAL" and not target.expressions:
        return exp.DataType.build("DECIMAL(18, 0)")
    if kind in ("VARBINARY", "BINARY"):
        return exp.DataType.build("BLOB", dialect="duckdb")
    if kind in ("GEOMETRY", "GEOGRAPHY", "HLLSKETCH", "USERDEFINED"):
        name = target.sql("redshift").lower()
        if name.split("(")[0] == "varbyte":
            return exp.DataType.build("BLOB", dialect="duckdb")
        raise SqlError(f'type "{name}" does not exist in this engine')
    return target


def length(target: exp.DataType) -> int | None:
    """How many bytes a column of this type holds; None when it is not a text type."""
    if target.this.name not in DEFAULT_LENGTHS:
        return None
    return _length(target) or DEFAULT_LENGTHS[target.this.name]


def _length(target: exp.DataType) -> int | None:
    if not target.expressions:
        return None
    text = target.expressions[0].name
    return MAX_LENGTH if text.lower() == "max" else int(text)


def _anonymous(node: exp.Anonymous) -> exp.Expression:
    name = node.name.lower()
    if name in ("ratio_to_report", "values"):  # rewritten with the window or MERGE around them
        return node
    if name not in _FUNCTIONS:
        raise SqlError(f"function {name}() does not exist, or this engine does not have it")
    arguments = [argument.sql("duckdb") for argument in node.expressions]
    try:
        return read_duckdb(_FUNCTIONS[name].format(*arguments))
    except IndexError:
        raise SqlError(f"function {name}() is given too few arguments") from None


def _average(node: exp.Avg) -> exp.Expression:
    if isinstance(node.parent, exp.Window):
        return node  # _window rewrites it
    # An integer's average is an integer in Redshift: so is this division (integer_division).
    return exp.paren(
        exp.Div(this=exp.Sum(this=node.this), expression=exp.Count(this=node.this.copy())),
        copy=False,
    )


def _window(node: exp.Window) -> exp.Expression:
    inner = node.this
    if isinstance(inner, exp.Anonymous) and inner.name.lower() == "ratio_to_report":
        whole = node.copy()
        whole.set("this", exp.Sum(this=inner.expressions[0].copy()))
        part = exp.cast(inner.expressions[0], "DOUBLE")
        return exp.Div(this=part, expression=whole)
    if isinstance(inner, exp.Avg):
        total, count = node.copy(), node.copy()
        total.set("this", exp.Sum(this=inner.this.copy()))
        count.set("this", exp.Count(this=inner.this.copy()))
        return exp.paren(exp.Div(this=total, expression=count), copy=False)
    return node


def _listagg(node: exp.GroupConcat) -> exp.Expression:
    # sqlglot takes the separator of LISTAGG(DISTINCT x, ',') for a second value.
    if isinstance(node.this, exp.Distinct) and len(node.this.expressions) == 2:
        value, separator = node.this.expressions
        node.set("this", exp.Distinct(expressions=[value]))
        node.set("separator", separator)
    return node


def _similar(node: exp.SimilarTo) -> exp.Expression:
    pattern = node.expression
    if not (isinstance(pattern, exp.Literal) and pattern.is_string):
        raise SqlError("SIMILAR TO needs a literal pattern in this engine")
    regex = pattern.name.replace(".", "\\.").replace("%", ".*").replace("_", ".")
    return exp.func("regexp_full_match", node.this, exp.Literal.string(regex), dialect="duckdb")


def _sha2(node: exp.SHA2) -> exp.Expression:
    bits = node.args.get("length")
    if bits is not None and bits.name not in ("0", "256"):
        raise SqlError(f"SHA2 of {bits.name} bits is not available in this engine; use 256")
    return node


def _now(_: exp.Expression) -> exp.Expression:
    return read_duckdb(_NOW)


def _regexp_replace(node: exp.RegexpReplace) -> exp.Expression:
    # Redshift replaces every match.
    if not node.args.get("modifiers"):
        node.set("modifiers", exp.Literal.string("g"))
    return node


def _trunc(node: exp.Expression) -> exp.Expression:
    if node.args.get("decimals"):
        return node
    return exp.func("date_or_trunc", node.this, dialect="duckdb")


_REWRITES: dict[type[exp.Expression], Callable[[Any], exp.Expression]] = {
    exp.Anonymous: _anonymous,
    exp.Avg: _average,
    exp.Cast: _cast,
    exp.CurrentTimestamp: _now,
    exp.GroupConcat: _listagg,
    exp.RegexpReplace: _regexp_replace,
    exp.SHA2: _sha2,
    exp.SimilarTo: _similar,
    exp.Trunc: _trunc,
    exp.TryCast: _cast,
    exp.Window: _window,
}


# ---------------------------------------------------------------- results and errors


def api_type(duckdb_type: str) -> tuple[str, int, int]:
    """The Data API's typeName, precision and scale of a DuckDB type."""
    if match := re.fullmatch(r"DECIMAL\((\d+),\s*(\d+)\)", duckdb_type):
        return "numeric", int(match[1]), int(match[2])
    if duckdb_type == "VARCHAR":
        return "varchar", MAX_LENGTH, 0
    name, precision = _API_TYPES.get(duckdb_type, ("super", 4194304))
    return name, precision, 6 if name.startswith("time") else 0


_ERRORS: list[tuple[str, str]] = [
    (r"CHECK constraint failed.*strlen\(\"?(\w+)\"?\) <= (\d+)",
     "Value too long for character type\n  Detail: value too long for type "
     "character varying({2}) (column {1})"),
    (r"NOT NULL constraint failed: (\w+)\.(\w+)", "Cannot insert a NULL value into column {2}"),
    (r"(?:Table|View) with name \"?([\w.]+)\"? does not exist", 'relation "{1}" does not exist'),
    (r"Schema with name \"?(\w+)\"? does not exist", 'schema "{1}" does not exist'),
    (r"(?:Table|View) with name \"(\w+)\" already exists", 'Relation "{1}" already exists'),
    (r"Schema with name \"(\w+)\" already exists", 'Schema "{1}" already exists'),
    (r"(?:Scalar|Table|Aggregate|Macro)? ?Function with name \"?(\w+)\"? does not exist",
     "function {1}() does not exist"),
    (r"Referenced column \"(\w+)\" (?:was )?not found", 'column "{1}" does not exist'),
    (r"does not have a column (?:named|with name) \"(\w+)\"", 'column "{1}" does not exist'),
    (r"Referenced table \"(\w+)\" not found", 'invalid reference to FROM-clause entry for "{1}"'),
    (r"cannot affect the same target row more than once",
     "Found multiple matches to update the same tuple."),
    (r"Division by zero", "division by zero"),
    (r"INTERRUPT", "Query cancelled on user's request"),
]  # fmt: skip

SERIALIZABLE_VIOLATION = (
    "1023\n  Detail: Serializable isolation violation on table in Redshift: another transaction "
    "wrote {0} since this one began; run this transaction again."
)


def redshift_error(error: duckdb.Error) -> SqlError:
    """The failure in Redshift's words, with DuckDB's where Redshift's are not known."""
    text = str(error)
    if isinstance(error, duckdb.TransactionException) and "onflict" in text:
        return SqlError(SERIALIZABLE_VIOLATION.format("a table it writes"))
    for pattern, message in _ERRORS:
        if match := re.search(pattern, text, re.DOTALL):
            return SqlError(message.format(match[0], *match.groups()))
    # DuckDB's advice is about DuckDB.
    text = re.split(r"\n+LINE \d|\n\s*Candidate |\nPossible fixes", text)[0]
    return SqlError(text.partition(": ")[2] or text)


def _plain(error: SqlglotError) -> str:
    return re.sub(r"\x1b\[\d*m", "", str(error)).replace("\n", " ").strip()
