"""The expectations on real SQL (SQLite here, Athena in test_athena_checks), and the report."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import great_expectations as gx
import pytest
from clickstream import quality
from clickstream.agreement import Counts, disagreements
from clickstream.expectations import fact_clicks_suite, pipeline_runs_suite
from clickstream.interval import Interval
from clickstream.ledger import LedgerEntry
from clickstream.quality_report import render_report

DAY = datetime(2026, 11, 20, tzinfo=UTC)
INTERVAL = Interval(DAY, DAY + timedelta(days=1), DAY)
ENTRY = LedgerEntry(
    run_id="jr_1",
    object_count=1,
    line_count=110,
    loaded_count=100,
    duplicate_count=5,
    quarantined_count=4,
    blank_count=1,
    erased_count=0,
    displaced_count=0,
    residual=0,
    quarantined_by_reason={"JSON_SYNTAX": 3, "<script>alert(1)</script>": 1},
    hours=["2026-11-20T07"],
    touched_hours="(year = 2026)",
)
COUNTS = Counts(raw_lines=110, loaded=100, quarantined=4, athena_rows=100, redshift_rows=100)
ROW: dict[str, Any] = {
    "event_id": "e",
    "event_type": "view",
    "event_category": "browse",
    "event_timestamp": "2026-11-20 07:00:00",
    "price": 9.5,
    "quantity": 1,
    "arrived_at": "2026-11-20 07:00:00",
    "source_object": "o",
    "source_line": 1,
    "clock_skew": 0,
    "user_key": "user-4711",
    "partition_hour": 2026112007,
    "event_hour": 2026112007,
}
Validate = Callable[..., dict[str, Any]]


@pytest.fixture
def validate(tmp_path: Path) -> Validate:
    """Validates 100 good rows in which `changes` are made (row number -> columns)."""

    def run(
        changes: dict[int, dict[str, Any]] | None = None, entry: LedgerEntry = ENTRY
    ) -> dict[str, Any]:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.db"
        with sqlite3.connect(path) as database:
            database.execute(f"CREATE TABLE clicks ({', '.join(ROW)})")
            for number in range(100):
                row = {**ROW, "event_id": f"e{number}", **(changes or {}).get(number, {})}
                marks = ", ".join("?" * len(row))
                database.execute(f"INSERT INTO clicks VALUES ({marks})", list(row.values()))
        database.close()
        context = gx.get_context(mode="ephemeral")
        source = context.data_sources.add_sql(
            "sqlite", connection_string=f"sqlite:///{path}", create_temp_table=False
        )
        asset = source.add_query_asset("fact_clicks", f"SELECT {', '.join(ROW)} FROM clicks")
        return {"fact_clicks": quality.validate(asset, fact_clicks_suite(INTERVAL, entry))}

    return run


def test_good_rows_pass_every_check(validate: Validate) -> None:
    found = quality.checks(validate())
    assert len(found) >= 15
    assert {check.severity for check in found} == {"fail", "warn"}
    assert [str(check) for check in found if not check.is_success] == []


@pytest.mark.parametrize(
    ("changes", "severity", "expectation", "column"),
    [
        ({1: {"event_id": "e0"}}, "fail", "compound_columns_to_be_unique", "event_id"),
        ({1: {"user_key": None}}, "fail", "column_values_to_not_be_null", "user_key"),
        ({1: {"event_category": "odd"}}, "fail", "column_values_to_be_in_set", "event_category"),
        ({1: {"event_hour": 2026112008}}, "fail", "column_pair_values_to_be_equal", "event_hour"),
        ({n: {"price": 2_000_000} for n in (1, 2)}, "fail", "column_values_to_be_between", "price"),
        ({n: {"price": -1} for n in range(50)}, "warn", "column_values_to_be_between", "price"),
        ({1: {"quantity": 0}}, "warn", "column_values_to_be_between", "quantity"),
        ({1: {"event_type": "hover"}}, "warn", "column_values_to_be_in_set", "event_type"),
        (
            {1: {"event_id": "e0", "event_timestamp": "2026-11-20 07:30:00"}},
            *("warn", "column_values_to_be_unique", "event_id"),
        ),
        ({n: {"clock_skew": 1} for n in (1, 2)}, "warn", "column_mean_to_be_between", "clock_skew"),
        (
            {n: {"event_timestamp": "2026-11-19 07:00:00"} for n in range(100)},
            *("warn", "column_max_to_be_between", "event_timestamp"),
        ),
    ],
)
def test_a_bad_row_is_found_with_its_expectation_column_and_severity(
    validate: Validate,
    changes: dict[int, dict[str, Any]],
    severity: str,
    expectation: str,
    column: str,
) -> None:
    failed = quality.failures(validate(changes), severity)
    (check,) = (check for check in failed if check.expectation == f"expect_{expectation}")
    assert column in check.column
    assert check.observed
    assert str(check).startswith(f"expect_{expectation} of fact_clicks.")
    if severity == "warn":
        assert quality.failures(validate(changes), "fail") == []


def test_fewer_rows_than_were_loaded_fail(validate: Validate) -> None:
    validations = validate(entry=replace(ENTRY, loaded_count=101))
    (check,) = quality.failures(validations, "fail")
    assert (check.expectation, check.observed) == ("expect_table_row_count_to_be_between", "100")


def test_an_expectation_that_cannot_be_evaluated_is_an_error_and_not_a_failure(
    tmp_path: Path,
) -> None:
    source = gx.get_context(mode="ephemeral").data_sources.add_sql(
        "sqlite", connection_string=f"sqlite:///{tmp_path}/x.db", create_temp_table=False
    )
    asset = source.add_query_asset("pipeline_runs", "SELECT 0 AS residual")
    with pytest.raises(RuntimeError, match=r"of pipeline_runs cannot be evaluated: .*quarantined"):
        quality.validate(asset, pipeline_runs_suite())


def test_numbers_that_fit_are_no_disagreement() -> None:
    assert disagreements(ENTRY, COUNTS) == []
    assert disagreements(ENTRY, replace(COUNTS, raw_lines=109)) == []  # blank lines are no rows
    assert disagreements(ENTRY, replace(COUNTS, raw_lines=None)) == []  # a torn gzip
    erased = replace(ENTRY, erased_count=2, line_count=112)
    assert disagreements(erased, replace(COUNTS, raw_lines=112)) == []
    assert disagreements(erased, COUNTS) != []


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"redshift_rows": 99}, "Redshift and Athena: 99 is not 100 (-1)"),
        ({"loaded": 99}, "loaded, fact_clicks and ledger: 99 is not 100 (-1)"),
        ({"quarantined": 5}, "quarantine and ledger: 5 is not 4 (+1)"),
        ({"raw_lines": 111}, "residual +1: 111 raw lines"),
        ({"raw_lines": 108}, "residual -2: 108 raw lines"),
    ],
)
def test_each_way_to_disagree_is_said_with_the_numbers(counts: dict[str, int], words: str) -> None:
    assert words in "; ".join(disagreements(ENTRY, replace(COUNTS, **counts)))


def test_a_ledger_that_does_not_balance_is_found() -> None:
    assert disagreements(replace(ENTRY, residual=2), COUNTS) == [
        "the ledger's own residual: 2 is not 0 (+2)"
    ]


class Page(HTMLParser):
    """Text and addresses of a page; every tag that is opened must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.verdict = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "header":
            self.verdict = dict(attrs)["class"] or ""
        if tag not in ("meta", "br", "rect", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect",):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(filter(None, self.words))


def test_the_report_needs_no_network_and_no_script(validate: Validate) -> None:
    html = render_report(INTERVAL, ENTRY, validate(), COUNTS, [])
    page = Page(html)
    assert page.open == []
    assert page.addresses == []
    assert not re.search(r"https?://|@import|url\(|<script", html)
    assert "&lt;script&gt;alert(1)" in html


def test_the_report_says_what_happened(validate: Validate) -> None:
    page = Page(render_report(INTERVAL, ENTRY, validate(), COUNTS, []))
    assert page.verdict == "pass"
    assert "Every line accounted for, every check passed" in page.text
    assert "JSON_SYNTAX 3" in page.text
    for words in ("loaded 100", "duplicates 5", "quarantined 4", "blank 1", "residual 0"):
        assert words in page.text


def test_a_warning_is_counted_and_shown_with_its_sample(validate: Validate) -> None:
    page = Page(render_report(INTERVAL, ENTRY, validate({1: {"event_type": "hover"}}), COUNTS, []))
    assert page.verdict == "warn"
    assert "1 warning" in page.text
    assert "for example hover" in page.text


def test_a_failure_stands_first_and_no_identity_is_shown(validate: Validate) -> None:
    html = render_report(INTERVAL, ENTRY, validate({1: {"event_id": "e0"}}), None, [])
    page = Page(html)
    assert page.verdict == "fail"
    assert "1 check failed: the warehouse was not loaded" in page.text
    assert page.text.index("An event (id and time) stands once") < page.text.index("passed")
    assert ROW["user_key"] not in html


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (None, "stopped before its checks"),
        (COUNTS, "stopped before its checks"),
    ],
)
def test_a_run_that_stopped_early_has_a_report_too(counts: Counts | None, words: str) -> None:
    page = Page(render_report(INTERVAL, ENTRY, {}, counts, []))
    assert page.verdict == "fail"
    assert words in page.text


def test_tables_that_disagree_make_the_report_red(validate: Validate) -> None:
    found = ["rows of dim_users, Redshift and Athena: 99 is not 100 (-1)"]
    page = Page(render_report(INTERVAL, ENTRY, validate(), COUNTS, found))
    assert page.verdict == "fail"
    assert "1 number of the tables disagree" in page.text
    assert "99 is not 100 (-1)" in page.text


def test_values_that_name_people_are_no_samples(validate: Validate) -> None:
    found = validate({1: {"event_type": "hover"}})
    (outcome,) = (one for one in found["fact_clicks"]["results"] if not one["success"])
    assert [check.samples for check in quality.failures(found, "warn")] == [["hover"]]
    outcome["expectation_config"]["kwargs"]["column"] = "user_key"
    assert [check.samples for check in quality.failures(found, "warn")] == [[]]
