"""Lake tables inside a parsed query: which partitions, files and columns it needs.

Engine-neutral: Athena and Redshift give their own way to find a table and to write DuckDB's SQL.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import duckdb
import sqlglot
from sqlglot import exp

from localaws.lake import Lake, LakeError, LakeTable

#: More tables than this in one query mean a view that leads back to itself.
MAX_TABLES = 500

#: Finds what a table name means: a lake table, the text of a SELECT, or None to leave it alone.
Find = Callable[[exp.Table, str], LakeTable | str | None]


@dataclass
class Binder:
    """Puts lake tables in place of the names in a query.

    Attributes:
        find: looks a table up; its second argument is the schema of unqualified names.
        to_duckdb: writes a (part of a) query in DuckDB's SQL.
        scanned_bytes: what the relations bound so far scan.
        tables: the lake tables bound so far, views included.
    """

    lake: Lake
    connection: duckdb.DuckDBPyConnection
    find: Find
    to_duckdb: Callable[[exp.Expression], str]
    scanned_bytes: int = 0
    tables: list[LakeTable] = field(default_factory=list)
    _relations: dict[str, str] = field(default_factory=dict)

    def sql(self, query: exp.Expression, schema: str) -> str:
        """The query in DuckDB's SQL, its tables read from the lake.

        Raises:
            LakeError: for a table that is missing or cannot be read.
        """
        query = query.copy()
        found = self._expand(query, schema)
        columns = _columns(query)
        for node, table in found:
            _replace(
                node, exp.Table(this=exp.to_identifier(self._relate(node, table, columns), True))
            )
        for column in query.find_all(exp.Column):  # db.table.column: the alias is all there is now
            column.set("db", None)
            column.set("catalog", None)
        text = self.to_duckdb(query)
        for name, relation in self._relations.items():
            text = text.replace(f'"{name}"', f"({relation})")
        return text

    def _expand(
        self, query: exp.Expression, schema: str
    ) -> list[tuple[exp.Table, LakeTable | str]]:
        """Put views' queries in place of their names; the tables that are then left."""
        tables = []
        pending = list(query.find_all(exp.Table))
        while pending:
            node = pending.pop()
            if not isinstance(node.this, exp.Identifier):
                function = node.this.sql().partition("(")[0].lower()
                raise LakeError("FUNCTION_NOT_FOUND", f"Table function '{function}' not registered")
            if _is_cte(node):
                continue
            found = self.find(node, schema)
            if isinstance(found, LakeTable):
                self.tables.append(found)
                if len(self.tables) > MAX_TABLES:
                    raise LakeError("INVALID_VIEW", f"{found.name} needs too many tables or itself")
            if isinstance(found, LakeTable) and found.view:
                view = sqlglot.parse_one(found.view["originalSql"], read="trino")
                inner = list(view.find_all(exp.Table))
                for table in inner:
                    if not table.args.get("db") and not _is_cte(table):
                        table.set("db", exp.to_identifier(found.view["schema"]))
                _replace(node, view.subquery(copy=False))
                pending += inner
            elif found is not None:
                tables.append((node, found))
        return tables

    def _relate(self, node: exp.Table, found: LakeTable | str, columns: set[str] | None) -> str:
        name = f"lake_{uuid.uuid4().hex}"
        if isinstance(found, str):
            self._relations[name] = found
            return name
        keys = {key.name: key.name for key in found.partition_keys}
        conditions = [self.to_duckdb(c) for c in _conditions(node, node.alias_or_name, keys)]
        relation = self.lake.relation(
            found,
            self.connection,
            where=" AND ".join(f"({c})" for c in conditions) or "TRUE",
            columns=columns,
        )
        self.scanned_bytes += relation.scanned_bytes
        self._relations[name] = relation.sql
        return name


def _replace(node: exp.Table, new: exp.Expression) -> None:
    alias = node.args.get("alias")
    new.set("alias", alias or exp.TableAlias(this=exp.to_identifier(node.name, True)))
    for part in ("joins", "laterals", "pivots", "sample"):
        if node.args.get(part):
            new.set(part, node.args[part])
    node.replace(new)


def _columns(query: exp.Expression) -> set[str] | None:
    """Every name the query mentions; None when a star may mean any column."""
    if any(not isinstance(star.parent, exp.Count) for star in query.find_all(exp.Star)):
        return None
    return {identifier.name.lower() for identifier in query.find_all(exp.Identifier)}


def _is_cte(node: exp.Table) -> bool:
    if node.args.get("db"):
        return False
    child: exp.Expression = node
    while parent := child.parent:
        with_ = parent.args.get("with_") or parent.args.get("with")
        if isinstance(with_, exp.With) and child is not with_:
            if any(cte.alias.lower() == node.name.lower() for cte in with_.expressions):
                return True
        elif isinstance(parent, exp.With):  # inside a CTE: those before it (and itself)
            for cte in parent.expressions:
                if cte is child and not parent.args.get("recursive"):
                    break
                if cte.alias.lower() == node.name.lower():
                    return True
        child = parent
    return False


def _conditions(
    source: exp.Expression, alias: str, keys: dict[str, str]
) -> Iterator[exp.Expression]:
    """Conditions on partition keys alone that every row of `source` must meet to matter.

    Args:
        source: a table or derived table in a FROM or JOIN.
        alias: the name it has there.
        keys: its columns that are partition keys, with the keys' names.
    """
    place = source.parent
    select = place.parent if isinstance(place, exp.From | exp.Join) else None
    if not isinstance(select, exp.Select) or not keys:
        return
    joins = select.args.get("joins") or []
    if any(join.side in ("RIGHT", "FULL") for join in joins):
        return
    filters = []
    where = select.args.get("where")
    if where and not (isinstance(place, exp.Join) and place.side):
        filters += _conjuncts(where.this)
    if isinstance(place, exp.Join) and place.args.get("on"):
        filters += _conjuncts(place.args["on"])
    for condition in filters:
        used = list(condition.find_all(exp.Column))
        if (
            used
            and not condition.find(exp.Query, exp.AggFunc, exp.Window)
            and all(c.name.lower() in keys and c.table.lower() in ("", alias.lower()) for c in used)
        ):
            yield condition.transform(
                lambda node: (
                    exp.column(exp.to_identifier(keys[node.name.lower()], True))
                    if isinstance(node, exp.Column)
                    else node
                )
            )
    yield from _outer_conditions(select, alias, keys)


def _outer_conditions(
    select: exp.Select, alias: str, keys: dict[str, str]
) -> Iterator[exp.Expression]:
    """Conditions of the query around `select` that can be asked of its rows already."""
    if any(select.args.get(part) for part in ("limit", "offset", "qualify")) or any(
        select.find_all(exp.Window)
    ):
        return
    outer: exp.Expression | None = select.parent
    if isinstance(outer, exp.CTE):
        root = outer.parent.parent if outer.parent else None
        uses = (
            []
            if root is None
            else [table for table in root.find_all(exp.Table) if table.name == outer.alias]
        )
        if len(uses) != 1:
            return
        outer = uses[0]
    elif not isinstance(outer, exp.Subquery):
        return
    passed: dict[str, str] = {}
    for projection in select.expressions:
        column = projection.unalias()
        if isinstance(column, exp.Star) and len(select.args.get("joins") or []) == 0:
            passed |= keys
        elif (
            isinstance(column, exp.Column)
            and column.table.lower() in ("", alias.lower())
            and (key := keys.get(column.name.lower()))
        ):
            passed[projection.alias_or_name.lower()] = key
    yield from _conditions(outer, outer.alias_or_name, passed)


def _conjuncts(condition: exp.Expression) -> list[exp.Expression]:
    condition = condition.unnest()
    if isinstance(condition, exp.And):
        return _conjuncts(condition.left) + _conjuncts(condition.right)
    return [condition]
