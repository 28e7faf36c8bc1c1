"""How a query fails: DuckDB's messages in Athena's words."""

from __future__ import annotations

import re

_NO_COLUMN = (
    "Column '{0}' cannot be resolved or requester is not authorized to access requested resources"
)
#: DuckDB's message, Athena's code, Athena's message.
_FAILURES: tuple[tuple[str, str, str], ...] = (
    (r'Referenced column "([^"]+)" (?:was )?not found', "COLUMN_NOT_FOUND", _NO_COLUMN),
    (r'Referenced table "([^"]+)" not found', "COLUMN_NOT_FOUND", _NO_COLUMN),
    (r'does not have a column named "([^"]+)"', "COLUMN_NOT_FOUND", _NO_COLUMN),
    (
        r'Function with name "?(\w+)"? does not exist',
        "FUNCTION_NOT_FOUND",
        "Function '{0}' not registered",
    ),
    (
        r'column "([^"]+)" must appear in the GROUP BY',
        "EXPRESSION_NOT_AGGREGATE",
        "'{0}' must be an aggregate expression or appear in GROUP BY clause",
    ),
    (r"Division by zero", "DIVISION_BY_ZERO", "Division by zero"),
    (
        r"Could not convert string '(.*)' to (\S+)",
        "INVALID_CAST_ARGUMENT",
        "Cannot cast '{0}' to {1}",
    ),
    (
        r'Ambiguous reference to column name "?([^"\s]+)',
        "AMBIGUOUS_NAME",
        "Column '{0}' is ambiguous",
    ),
    (r"^Out of Memory Error", "EXCEEDED_MEMORY_LIMIT", "Query exceeded the memory limit"),
    (
        r'^Invalid Input Error: Malformed JSON in file "([^"]*)"([^\n]*)',
        "HIVE_BAD_DATA",
        "Error parsing JSON of {0}{1}",
    ),
    (
        r"No function matches the given name and argument types '(\w+)\(",
        "FUNCTION_NOT_FOUND",
        "Unexpected parameters for function {0}",
    ),
    (
        r'Could not choose a best candidate function for the function call "(\w+)',
        "TYPE_MISMATCH",
        "Unexpected parameters for function {0}",
    ),
    (r"^(?:Binder|Parser) Error: ([^\n]*)", "SYNTAX_ERROR", "{0}"),
    (r"^IO Error: ([^\n]*)", "HIVE_CANNOT_OPEN_SPLIT", "{0}"),
    (
        r"^(?:Conversion|Invalid Input|Out of Range) Error: ([^\n]*)",
        "INVALID_FUNCTION_ARGUMENT",
        "{0}",
    ),
)

#: Codes whose reason names the place in the query.
_PLACED = (
    "TABLE_NOT_FOUND",
    "COLUMN_NOT_FOUND",
    "FUNCTION_NOT_FOUND",
    "SYNTAX_ERROR",
    "EXPRESSION_NOT_AGGREGATE",
    "AMBIGUOUS_NAME",
    "TYPE_MISMATCH",
)
#: The start of a reason, and the number it has in Athena's error catalog.
_TYPES = (
    ("GENERIC_INTERNAL_ERROR", 200),
    ("SYNTAX_ERROR", 1006),
    ("FAILED: ParseException", 1006),
    ("FAILED:", 1003),
    ("HIVE_", 1001),
    ("TABLE_NOT_FOUND", 1004),
    ("COLUMN_NOT_FOUND", 1004),
    ("SCHEMA_NOT_FOUND", 1004),
)


class QueryError(Exception):
    """A failed query; the text is its StateChangeReason."""


class Cancelled(Exception):
    """The query was stopped; the text is its StateChangeReason."""


def reason_of(error: str, sql: str) -> str:
    """The StateChangeReason for an error of DuckDB in the query `sql`."""
    for pattern, code, message in _FAILURES:
        if match := re.search(pattern, error):
            groups = [group or "" for group in match.groups()]
            reason = f"{code}: {message.format(*groups)}"
            reason = reason.replace("INT32", "INT").replace("INT64", "BIGINT")
            return with_place(reason, sql, groups[0] if groups else "")
    return f"GENERIC_INTERNAL_ERROR: {error.splitlines()[0]}"


def with_place(reason: str, sql: str, name: str = "") -> str:
    """Put ``line 1:15:`` behind the code: where the name at fault stands in the query."""
    code, _, rest = reason.partition(": ")
    if code not in _PLACED or rest.startswith("line "):
        return reason
    if code == "TABLE_NOT_FOUND":
        name = rest.split("'")[1].rpartition(".")[2]
    found = re.search(rf"(?i)\b{re.escape(name)}\b", sql) if name else None
    at = found.start() if found else 0
    line, column = sql.count("\n", 0, at) + 1, at - sql.rfind("\n", 0, at)
    return f"{code}: line {line}:{column}: {rest}"


def athena_error(reason: str) -> dict[str, object]:
    """The AthenaError of a failed query."""
    number = next((number for start, number in _TYPES if reason.startswith(start)), 1000)
    return {
        "ErrorCategory": 1 if number == 200 else 2,
        "ErrorType": number,
        "Retryable": number == 200,
        "ErrorMessage": reason,
    }
