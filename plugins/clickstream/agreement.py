"""Conservation and agreement, derived again from the tables and not believed from the ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from clickstream.config import Config
from clickstream.interval import Interval
from clickstream.ledger import LedgerEntry
from clickstream.model_run import WAREHOUSE_TABLES, ModelRun

log = logging.getLogger(__name__)

#: How Athena's reasons begin when an object's own bytes are at fault.
UNREADABLE = ("HIVE_BAD_DATA", "HIVE_CURSOR_ERROR", "HIVE_CANNOT_OPEN_SPLIT")


@dataclass(frozen=True)
class Counts:
    """What the tables hold for one run.

    Attributes:
        raw_lines: rows of click_events_raw that arrived in the interval; None where Athena cannot
            read an object (a torn gzip, which the clean job itself reads up to the tear).
        loaded: rows of fact_clicks from these arrivals.
        quarantined: rows of quarantine from these arrivals.
        athena_rows: all rows of the touched hours in the lake.
        redshift_rows: all rows of the touched hours in the warehouse.
    """

    raw_lines: int | None
    loaded: int
    quarantined: int
    athena_rows: int
    redshift_rows: int

    def to_xcom(self) -> dict[str, Any]:
        """JSON that `Counts(**…)` takes back."""
        return asdict(self)


def count(config: Config, interval: Interval, entry: LedgerEntry) -> Counts:
    """Ask both engines."""
    from pyathena.error import OperationalError

    from clickstream.engines import athena_rows, redshift_rows

    span = {
        "interval_start": interval.to_xcom()["start"],
        "interval_end": interval.to_xcom()["end"],
    }

    def one(run: Callable[..., list[dict[str, Any]]], path: str, **values: Any) -> int:
        (row,) = run(config, path, **values)
        (value,) = row.values()
        return int(value)

    raw_lines = None
    try:
        raw_lines = one(
            athena_rows,
            "athena/click_events_raw/count.sql",
            arrival_hours=interval.arrival_hours,
        )
    except OperationalError as error:
        if not str(error).startswith(UNREADABLE):
            raise
        log.warning("Athena cannot read a raw object, the ledger's count stands in: %s", error)
    touched = {"touched_hours": entry.touched_hours}
    return Counts(
        raw_lines=raw_lines,
        loaded=one(athena_rows, "athena/fact_clicks/count_arrived.sql", **touched, **span),
        quarantined=one(athena_rows, "athena/quarantine/count_arrived.sql", **span),
        athena_rows=one(athena_rows, "checks/count_fact_clicks.sql", **touched),
        redshift_rows=one(redshift_rows, "checks/count_fact_clicks.sql", **touched),
    )


def disagreements(entry: LedgerEntry, counts: Counts) -> list[str]:
    """One sentence for each way in which the numbers do not fit; empty when all is well."""
    found = []

    def same(what: str, left: int, right: int) -> None:
        if left != right:
            found.append(f"{what}: {left} is not {right} ({left - right:+d})")

    same("rows of the touched hours, Redshift and Athena", counts.redshift_rows, counts.athena_rows)
    same("loaded, fact_clicks and ledger", counts.loaded, entry.loaded_count)
    same("quarantined, quarantine and ledger", counts.quarantined, entry.quarantined_count)
    same("the ledger's own residual", entry.residual, 0)
    accounted = counts.loaded + counts.quarantined + entry.duplicate_count + entry.erased_count
    lines = entry.line_count if counts.raw_lines is None else counts.raw_lines
    # Engines differ on whether a blank line of a JSON table is a row.
    if lines - accounted not in (0, entry.blank_count):
        found.append(
            f"residual {lines - accounted - entry.blank_count:+d}: {lines} raw lines, but "
            f"{counts.loaded} loaded + {entry.duplicate_count} duplicates + {counts.quarantined} "
            f"quarantined + {entry.blank_count} blank + {entry.erased_count} erased (if objects "
            "arrived after the clean job began, clear the run)"
        )
    return found


def model_disagreements(config: Config, run: ModelRun) -> list[str]:
    """One sentence for each table of the model that Redshift holds other than the lake."""
    from clickstream.engines import athena_rows, redshift_rows

    tables = {name: run.days_of(name) for name in WAREHOUSE_TABLES if name in run.row_counts}
    if not tables:
        return []
    lake, warehouse = (
        {
            row["model_table"]: int(row["model_rows"])
            for row in ask(config, "checks/count_model.sql", tables=tables)
        }
        for ask in (athena_rows, redshift_rows)
    )
    return [
        f"rows of {name}, Redshift and Athena: {warehouse[name]} is not {count} "
        f"({warehouse[name] - count:+d})"
        for name, count in lake.items()
        if warehouse[name] != count
    ]
