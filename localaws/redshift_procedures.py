"""Stored procedures of Redshift: PL/pgSQL as far as a script that may run again needs it.

A body is BEGIN, statements, END: SQL, EXECUTE of a literal, and IF [NOT] EXISTS (query) THEN ...
END IF around such. A procedure has no parameters and no variables.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from localaws import redshift_dialect as dialect
from localaws.redshift_dialect import SqlError

if TYPE_CHECKING:
    from localaws.redshift_sql import Session

_CREATE = re.compile(
    r"""create \s+ (?P<replace>or \s+ replace \s+)? procedure \s+ (?P<name>[\w."]+) \s*
    \( \s* (?P<parameters>[^()]*?) \s* \) \s* as \s+ \$\$ (?P<body>.*) \$\$ \s+ language \s+ plpgsql
    (?:\s+ security \s+ (?:invoker|definer))?""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_NAMED = re.compile(
    r'(?:call|drop\s+procedure)\s+(?P<name>[\w."]+)\s*\(\s*(?P<arguments>.*?)\s*\)',
    re.IGNORECASE | re.DOTALL,
)
_BLOCK = re.compile(r"begin\s(?P<statements>.*)\send;?", re.IGNORECASE | re.DOTALL)
_IF = re.compile(
    r"if\s+(?P<negated>not\s+)?exists\s*\((?P<query>.*?)\)\s*then\s+(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_EXECUTE = re.compile(r"execute\s+'((?:[^']|'')*)'", re.IGNORECASE)


def is_create(sql: str) -> bool:
    """Whether a statement is CREATE [OR REPLACE] PROCEDURE."""
    return bool(re.match(r"(?i)create\s+(or\s+replace\s+)?procedure\b", sql))


def create(session: Session, sql: str) -> None:
    """CREATE [OR REPLACE] PROCEDURE; its body is read when it is called."""
    match = _CREATE.fullmatch(sql)
    if not match:
        raise SqlError("syntax error in CREATE PROCEDURE")
    if match["parameters"]:
        raise SqlError("a procedure with parameters is not available in this engine")
    schema, name = _place(session, match["name"])
    if _body(session, schema, name) is not None and not match["replace"]:
        raise SqlError(f'procedure "{name}" already exists')
    _forget(session, schema, name)
    session.cursor.execute(
        "INSERT INTO localaws.procedures VALUES (?, ?, ?)", [schema, name, match["body"]]
    )


def call(session: Session, sql: str) -> None:
    """CALL."""
    schema, name, body = _named(session, sql)
    block = _BLOCK.fullmatch(body.strip())
    if not block:
        raise SqlError(f"procedure {schema}.{name}() is not BEGIN ... END")
    is_skipping = in_if = False
    for statement in dialect.statements(block["statements"]):
        text = dialect.clean(statement)
        if re.fullmatch(r"(?i)end\s+if", text) and in_if:
            is_skipping = in_if = False
            continue
        if match := _IF.fullmatch(text):
            if in_if:
                raise SqlError("an IF inside an IF is not available in this engine")
            found = session.cursor.execute(session.select(match["query"])).fetchone()
            is_skipping, in_if = (found is not None) == bool(match["negated"]), True
            text = match["rest"]
        elif re.match(r"(?i)(if|else|elsif|while|for|loop|declare|raise|return)\b", text):
            raise SqlError(f'"{text.split()[0].upper()}" of PL/pgSQL is not available here')
        if not is_skipping:
            literal = _EXECUTE.fullmatch(text)
            session.run(literal[1].replace("''", "'") if literal else text)
    if in_if:
        raise SqlError(f"procedure {schema}.{name}() has an IF without END IF")


def drop(session: Session, sql: str) -> None:
    """DROP PROCEDURE."""
    schema, name, _ = _named(session, sql)
    _forget(session, schema, name)


def _named(session: Session, sql: str) -> tuple[str, str, str]:
    """Schema, name and body of the procedure that a CALL or DROP names."""
    match = _NAMED.fullmatch(sql)
    if not match:
        raise SqlError(f'syntax error at or near "{sql.split()[0]}"')
    schema, name = _place(session, match["name"])
    body = _body(session, schema, name)
    if body is None or match["arguments"]:
        raise SqlError(f"procedure {schema}.{name}({match['arguments']}) does not exist")
    return schema, name, body


def _place(session: Session, written: str) -> tuple[str, str]:
    table = dialect.table(written)
    schema = table.db or session.search_path[0]
    if schema not in session.schemas():
        raise SqlError(f'schema "{schema}" does not exist')
    return schema, table.name


def _body(session: Session, schema: str, name: str) -> str | None:
    row = session.cursor.execute(
        "SELECT body FROM localaws.procedures WHERE schema_name = ? AND procedure_name = ?",
        [schema, name],
    ).fetchone()
    return row[0] if row else None


def _forget(session: Session, schema: str, name: str) -> None:
    session.cursor.execute(
        "DELETE FROM localaws.procedures WHERE schema_name = ? AND procedure_name = ?",
        [schema, name],
    )
