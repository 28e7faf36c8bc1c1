"""Runs the expectations in Athena, pushed down, and keeps what Great Expectations answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from clickstream.config import Config
from clickstream.interval import Interval
from clickstream.ledger import LedgerEntry
from clickstream.model_run import ModelRun

if TYPE_CHECKING:
    import great_expectations as gx

MAX_SAMPLES = 5
#: Their values name people: no log and no report shows them.
PERSONAL = frozenset({"user_key", "person_key", "user_id", "anonymous_id"})

#: What a table's quality.sql is rendered with, and what makes its suite.
Checked: TypeAlias = "tuple[Mapping[str, str], Callable[[], gx.ExpectationSuite]]"


@dataclass(frozen=True)
class Check:
    """One expectation's outcome, as people read it."""

    table: str
    description: str
    expectation: str
    column: str
    severity: str
    is_success: bool
    observed: str
    samples: list[str]

    def __str__(self) -> str:
        sample = f", for example {', '.join(self.samples)}" if self.samples else ""
        return f"{self.expectation} of {self.table}.{self.column}: {self.observed}{sample}"


def check_events(config: Config, interval: Interval, entry: LedgerEntry) -> dict[str, Any]:
    """Validate what a run of the clean job has written.

    Returns:
        JSON: Great Expectations' validation result of each table.
    """
    from clickstream.expectations import (
        fact_clicks_suite,
        pipeline_runs_suite,
        quarantine_suite,
    )

    span = {"run_id": entry.run_id, "interval_start": interval.to_xcom()["start"]}
    return _validate_tables(
        config,
        {
            "fact_clicks": (
                {"touched_hours": entry.touched_hours},
                lambda: fact_clicks_suite(interval, entry),
            ),
            "quarantine": (span, partial(quarantine_suite, entry)),
            "pipeline_runs": (span, pipeline_runs_suite),
        },
    )


def check_model(config: Config, interval: Interval, run: ModelRun) -> dict[str, Any]:
    """Validate what a run of the model job has written; returns as `check_events` does."""
    from clickstream.model_expectations import suite

    return _validate_tables(
        config,
        {
            table: (
                {"rebuilt_days": run.days_of(table)},
                partial(suite, table, row_count, interval),
            )
            for table, row_count in run.row_counts.items()
        },
    )


def _validate_tables(config: Config, tables: Mapping[str, Checked]) -> dict[str, Any]:
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    from clickstream.engines import athena_arguments, render

    # It tells its own classes' story at level INFO.
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_sql(
        "athena",
        connection_string=f"awsathena+rest://:@athena.{config.region}.amazonaws.com:443/"
        f"{config.glue.database}?work_group={config.athena.workgroup}",
        create_temp_table=False,
        # For SQLAlchemy's create_engine; the field is missing in GX's type stub.
        kwargs={"connect_args": athena_arguments(config)},  # type: ignore[call-arg]
    )

    def select(table: str, values: Mapping[str, str]) -> str:
        # GX wants a text that begins with SELECT, not with the file's header or a WITH.
        sql = render(config, f"athena/{table}/quality.sql", **values)
        lines = [line for line in sql.splitlines() if not line.startswith("--")]
        return "\n".join(["SELECT * FROM (", *lines, ") AS checked"])

    return {
        table: validate(source.add_query_asset(table, select(table, values)), make_suite())
        for table, (values, make_suite) in tables.items()
    }


def validate(asset: Any, suite: gx.ExpectationSuite) -> dict[str, Any]:
    """Great Expectations' result of the suite over the whole asset, as JSON.

    Raises:
        RuntimeError: an expectation could not be evaluated, which is not a failed one.
    """
    batch = asset.add_batch_definition_whole_table(asset.name).get_batch()
    # Counts and samples cost as many queries again: they are asked for where something is wrong.
    result = batch.validate(suite, result_format="BOOLEAN_ONLY").to_json_dict()
    if not result["success"]:
        result = batch.validate(suite, result_format="BASIC").to_json_dict()
    for outcome in result["results"]:
        for error in _exceptions(outcome.get("exception_info") or {}):
            raise RuntimeError(
                f"{outcome['expectation_config']['type']} of {asset.name} cannot be evaluated: "
                f"{error}"
            )
    return result


def _exceptions(info: dict[str, Any]) -> Iterator[str]:
    if info.get("raised_exception"):
        yield info["exception_message"]
    for value in info.values():
        if isinstance(value, dict):
            yield from _exceptions(value)


def checks(validations: dict[str, Any]) -> list[Check]:
    """Every expectation of all tables, the failed ones first."""
    found = [
        _check(table, outcome)
        for table, validation in validations.items()
        for outcome in validation["results"]
    ]
    return sorted(found, key=lambda check: (check.is_success, check.severity != "fail"))


def failures(validations: dict[str, Any], severity: str) -> list[Check]:
    """The failed checks of one severity, `fail` or `warn`."""
    return [
        check
        for check in checks(validations)
        if not check.is_success and check.severity == severity
    ]


def _check(table: str, outcome: dict[str, Any]) -> Check:
    config, result = outcome["expectation_config"], outcome.get("result") or {}
    arguments = config["kwargs"]
    pair = [arguments[name] for name in ("column_A", "column_B") if name in arguments]
    columns = [arguments["column"]] if "column" in arguments else arguments.get("column_list", pair)
    if "observed_value" in result:
        observed = _text(result["observed_value"])
    elif outcome["success"]:
        observed = "as it should be"
    else:
        count, total = result.get("unexpected_count", 0), result.get("element_count", 0)
        observed = f"{count:,} of {total:,} rows break it"
    is_shown = not outcome["success"] and PERSONAL.isdisjoint(columns)
    samples = result.get("partial_unexpected_list") or [] if is_shown else []
    return Check(
        table=table,
        description=config.get("description") or config["type"],
        expectation=config["type"],
        column=", ".join(columns) or "*",
        severity="fail" if config["severity"] == "critical" else "warn",
        is_success=outcome["success"],
        observed=observed,
        samples=list(dict.fromkeys(map(_text, samples)))[:MAX_SAMPLES],
    )


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return " / ".join(map(_text, value.values()))
    if isinstance(value, list):
        return " / ".join(map(_text, value))
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
