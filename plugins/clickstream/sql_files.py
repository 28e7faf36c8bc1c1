"""Which files of `sql/` a task sends, by table."""

from __future__ import annotations


def repairs(*tables: str) -> list[str]:
    """The MSCK REPAIR of each table, for Athena."""
    return [f"athena/{table}/repair.sql" for table in tables]


def refreshes(*views: str) -> list[str]:
    """The REFRESH of each materialized view of the warehouse."""
    return [f"redshift/{view}/refresh.sql" for view in views]


def loads(*tables: str) -> list[list[str]]:
    """The statements that replace a run's part of each table of the warehouse: a transaction each.

    Spectrum returns maps and arrays as text in a session that was told to.
    """
    return [
        [
            "redshift/fact_clicks/serialize_maps.sql",
            f"redshift/{table}/delete.sql",
            f"redshift/{table}/insert.sql",
        ]
        for table in tables
    ]
