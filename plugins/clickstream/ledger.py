"""The ledger (`pipeline_runs`): what one run of the clean job says it did."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from clickstream.config import Config
from clickstream.interval import Interval, hours_predicate


@dataclass(frozen=True)
class LedgerEntry:
    """One run's numbers; `touched_hours` is the SQL predicate of the event hours it rewrote."""

    run_id: str
    object_count: int
    line_count: int
    loaded_count: int
    duplicate_count: int
    quarantined_count: int
    blank_count: int
    erased_count: int
    displaced_count: int
    residual: int
    quarantined_by_reason: dict[str, int]
    hours: list[str]
    touched_hours: str

    def to_xcom(self) -> dict[str, Any]:
        """JSON that `LedgerEntry(**…)` takes back."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> LedgerEntry:
        """The entry of one row of sql/athena/pipeline_runs/read.sql."""
        hours = sorted({datetime.fromisoformat(text) for text in json.loads(row["touched_hours"])})
        return cls(
            **{
                **row,
                "quarantined_by_reason": json.loads(row["quarantined_by_reason"] or "{}"),
                "touched_hours": hours_predicate(hours),
                "hours": [f"{hour:%Y-%m-%dT%H}" for hour in hours],
            }
        )


def read_ledger(config: Config, interval: Interval, run_id: str) -> LedgerEntry:
    """The entry that the clean job's run wrote.

    Raises:
        LookupError: it wrote none, or Athena cannot see it.
    """
    from clickstream.engines import athena_rows

    rows = athena_rows(
        config,
        "athena/pipeline_runs/read.sql",
        run_id=run_id,
        interval_start=interval.to_xcom()["start"],
    )
    if len(rows) != 1:
        raise LookupError(
            f"the ledger has {len(rows)} entries for run {run_id} of {interval.key}, not one; "
            "the clean job ended without writing it, or MSCK REPAIR of pipeline_runs was skipped"
        )
    return LedgerEntry.from_row(rows[0])
