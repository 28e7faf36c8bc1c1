"""Which files of `sql/` a task sends, by table."""

from __future__ import annotations


def repairs(*tables: str) -> list[str]:
    """The MSCK REPAIR of each table, for Athena."""
    return [f"athena/{table}/repair.sql" for table in tables]


def refreshes(*views: str) -> list[str]:
    """The REFRESH of each materialized view of the warehouse."""
    return [f"redshift/{view}/refresh.sql" for view in views]


def loads(*tables: str) -> list[str]:
    """The statements that replace a run's part of each table of the warehouse.

    They are one transaction: nobody sees the sessions of one run beside the events of another.
    Spectrum returns maps and arrays as text in a session that was told to.
    """
    return [
        "redshift/fact_clicks/serialize_maps.sql",
        *(f"redshift/{table}/{step}.sql" for table in tables for step in ("delete", "insert")),
    ]
