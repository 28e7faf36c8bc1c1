"""What a replay asks for, and what it says of itself afterwards: rows in, rows out."""

from __future__ import annotations

from typing import Any

import pytest
from clickstream import replay
from clickstream.replay import ALL, Request
from clickstream_contract import contract


def rows(*counts: tuple[str, str, int]) -> list[dict[str, Any]]:
    return [{"day": day, "reason": reason, "line_count": count} for day, reason, count in counts]


BEFORE = rows(
    ("2026-11-18", "TIME", 4),
    ("2026-11-20", "TIME", 3),
    ("2026-11-20", "TYPE", 5),
    ("2026-11-21", "TYPE", 1),
)
ASKED = Request("TIME", "2026-11-18", "2026-11-21")


def test_the_form_offers_the_reasons_of_the_contract() -> None:
    assert sorted(replay.REASONS) == sorted(contract.REASONS)


def test_only_days_with_lines_of_the_reason_are_replayed() -> None:
    assert replay.days(ASKED, reversed(BEFORE)) == ["2026-11-18", "2026-11-20"]
    assert replay.days(Request("UTF8", "2026-11-18", "2026-11-21"), BEFORE) == []
    assert replay.days(Request(ALL, "2026-11-18", "2026-11-21"), BEFORE) == [
        *("2026-11-18", "2026-11-20", "2026-11-21")
    ]


def test_the_report_counts_what_was_asked_for_and_lists_every_reason_of_the_replayed_days() -> None:
    after = rows(
        ("2026-11-18", "TIME", 1),
        # Mended for one reason, two of the lines were refused for another.
        ("2026-11-20", "NUMERIC", 2),
        ("2026-11-20", "TYPE", 5),
        ("2026-11-21", "TYPE", 1),  # not replayed
    )
    report = replay.compare(ASKED, BEFORE, after)
    assert (report["before"], report["after"], report["mended"]) == (7, 1, 6)
    assert [tuple(change.values()) for change in report["days"]] == [
        ("2026-11-18", "TIME", 4, 1, 3),
        ("2026-11-20", "NUMERIC", 0, 2, -2),
        ("2026-11-20", "TIME", 3, 0, 3),
        ("2026-11-20", "TYPE", 5, 5, 0),
    ]
    assert replay.describe(report) == (
        "7 quarantined TIME lines from 2026-11-18 to 2026-11-21 on 2 days were replayed: "
        "6 mended, 1 remain."
    )


def test_nothing_to_replay_is_a_sentence() -> None:
    report = replay.compare(Request(ALL, "2026-11-18", "2026-11-18"), [], [])
    assert (report["before"], report["days"]) == (0, [])
    assert replay.describe(report) == (
        "There are no quarantined lines from 2026-11-18 to 2026-11-18: nothing was replayed."
    )


@pytest.mark.parametrize(
    ("days", "sentence"),
    [
        (("2026-11-21", "2026-11-20"), "first_day 2026-11-21 lies after last_day 2026-11-20; swap"),
        (("2026-11-31", "2026-12-01"), "first_day is '2026-11-31'; it must be a day like 2026"),
        (("2026-11-20", "20261121"), "last_day is '20261121'; it must be a day like 2026-11-20"),
        (("2026-11-20", "2026-11-21' OR '1'='1"), "it must be a day like 2026-11-20"),
    ],
)
def test_days_that_cannot_be_used_are_one_sentence(days: tuple[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence.replace("(", r"\(")):
        Request(ALL, *days)
