"""The quality report: one HTML file that needs no network, made from the results' JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from clickstream.agreement import Counts
from clickstream.interval import Interval
from clickstream.ledger import LedgerEntry
from clickstream.quality import checks, failures

TEMPLATE = Path(__file__).with_name("quality_report.html.j2")
BAR_WIDTH = 1000


@dataclass(frozen=True)
class Share:
    """A part of the raw lines, and where it stands in the balance bar."""

    label: str
    count: int
    x: float
    width: float


@dataclass(frozen=True)
class Headline:
    """The verdict in one word for machines and one sentence for people."""

    state: str
    text: str


def render_report(
    interval: Interval,
    entry: LedgerEntry,
    validations: dict[str, Any],
    counts: Counts | None,
    disagreements: list[str],
) -> str:
    """The whole page.

    Args:
        interval: whose arrivals the run cleaned.
        entry: the run's ledger entry.
        validations: Great Expectations' result of each table; empty when the checks did not run.
        counts: what the tables hold; None when the run stopped before they were compared.
        disagreements: a sentence for each way in which they do not fit.
    """
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["number"] = lambda value: f"{value:,}"
    environment.filters["several"] = _several
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    reasons = sorted(entry.quarantined_by_reason.items(), key=lambda item: (-item[1], item[0]))
    return template.render(
        interval=interval,
        entry=entry,
        counts=counts,
        checks=checks(validations),
        reasons=reasons,
        headline=_headline(validations, counts, disagreements),
        disagreements=disagreements,
        shares=_shares(entry),
        bar_width=BAR_WIDTH,
    )


def _headline(
    validations: dict[str, Any], counts: Counts | None, disagreements: list[str]
) -> Headline:
    failed, warned = failures(validations, "fail"), failures(validations, "warn")
    if failed:
        return Headline(
            "fail", f"{_several(len(failed), 'check')} failed: the warehouse was not loaded"
        )
    if not validations:
        return Headline("fail", "The run stopped before its checks")
    if counts is None:
        return Headline("fail", "The run stopped before Athena and Redshift were compared")
    if disagreements:
        return Headline("fail", f"{_several(len(disagreements), 'number')} of the tables disagree")
    if warned:
        return Headline("warn", f"Every line accounted for, {_several(len(warned), 'warning')}")
    return Headline("pass", "Every line accounted for, every check passed")


def _several(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _shares(entry: LedgerEntry) -> list[Share]:
    parts = [
        ("loaded", entry.loaded_count),
        ("duplicates", entry.duplicate_count),
        ("quarantined", entry.quarantined_count),
        ("blank", entry.blank_count),
        ("erased", entry.erased_count),
        ("residual", entry.residual),
    ]
    total = max(1, sum(abs(count) for _, count in parts))
    shares, x = [], 0.0
    for label, count in parts:
        width = BAR_WIDTH * abs(count) / total
        shares.append(Share(label, count, round(x, 2), round(width, 2)))
        x += width
    return shares
