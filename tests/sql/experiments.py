"""Who was shown which variant of an experiment, and what they bought: clicks of the shop."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

#: Day of November 2026 and time, event_type, other columns.
Event = tuple[str, str, dict[str, Any]]


def saw(variant: str, at: str, experiment: str = "button", **fields: Any) -> Event:
    metadata = [("experiment", experiment), ("variant", variant)]
    return at, "exposure", {"metadata": metadata, **fields}


def bought(price: str | None, at: str, **fields: Any) -> Event:
    paid = {"price": price and Decimal(price), "quantity": 1, "currency": "USD"}
    return at, "purchase", {**paid, **fields}


def _crowd(variant: str, size: int, buyers: int, price: str) -> dict[str, list[Event]]:
    return {
        f"{variant}-{number}": [
            saw(variant, "20T10:00"),
            *([bought(price, "20T11:00")] if number < buyers else []),
        ]
        for number in range(size)
    }


#: By the visitor's anonymous_id.
STORIES: dict[str, list[Event]] = {
    **_crowd("control", size=20, buyers=3, price="10.00"),
    **_crowd("big", size=20, buyers=9, price="12.50"),
    **_crowd("wide", size=12, buyers=1, price="8.00"),
    "saw_it_twice": [
        saw("big", "19T10:00"),
        bought("7.00", "19T12:00"),
        saw("big", "20T10:00"),
    ],
    "crossed": [
        saw("control", "19T10:00"),
        saw("big", "20T10:00"),
        bought("50.00", "21T10:00"),
    ],
    "crossed_and_came_back": [
        saw("big", "19T10:00"),
        bought("50.00", "19T10:01"),
        saw("control", "19T10:02"),
        saw("big", "19T10:03"),
    ],
    "bought_before": [
        bought("30.00", "19T09:00"),
        saw("big", "19T10:00"),
        bought("30.00", "19T10:00"),  # at the very moment is not after it
    ],
    "bought_often": [
        saw("control", "19T10:00"),
        bought("3.00", "20T09:00", quantity=2),
        bought("4.00", "20T09:01", quantity=None, currency=None),
        bought("0.50", "20T09:02", currency="usd"),
        bought("0.25", "20T09:03", currency="  "),
        bought(None, "20T09:04"),
        bought("99.00", "20T09:05", currency="EUR"),
    ],
    "bought_in_a_foreign_currency": [
        saw("control", "19T10:00"),
        bought("99.00", "19T11:00", currency="EUR"),
    ],
    "robot": [
        ("19T08:00", "view", {"is_bot": True}),
        saw("control", "19T10:00"),  # of a reaction: it has no user agent
        bought("1000.00", "19T11:00"),
    ],
    "saw_it_before_the_first_date": [saw("control", "14T10:00"), bought("5.00", "14T12:00")],
    "bought_after_the_first_date": [saw("control", "14T10:00"), bought("60.00", "20T12:00")],
    "saw_the_other_before_the_first_date": [
        saw("control", "14T10:00"),
        saw("big", "20T10:00"),
        bought("5.00", "20T11:00"),
    ],
    "logged_in_between": [saw("big", "19T10:00"), bought("1.00", "21T10:00", user_id="u-both")],
    "on_another_device": [saw("control", "19T10:00", user_id="u-both")],
    "not_by_a_browser": [
        saw("control", "19T10:00", anonymous_id=None, user_id="u-alone"),
        bought("3.25", "19T11:00", anonymous_id=None, user_id="u-alone"),
    ],
    "saw_what_has_no_name": [
        ("19T10:00", "exposure", {"metadata": [("experiment", "button")]}),
        ("19T10:01", "exposure", {"metadata": [("variant", "big")]}),
        bought("1000.00", "19T11:00"),
    ],
    "saw_a_page": [("19T10:00", "view", saw("big", "")[2]), bought("1000.00", "19T11:00")],
    "swapped": [saw("x", "19T10:00", "swap"), saw("y", "19T11:00", "swap")],
    "stayed": [saw("y", "19T10:00", "swap")],
    "quiet_a": [saw("a", "19T10:00", "quiet")],
    "quiet_b": [saw("b", "19T10:00", "quiet")],
}
# The same visitors in another experiment; big-0 and big-1 when they had bought already.
for _number in range(4):
    STORIES[f"control-{_number}"].append(saw("discount", "20T10:30", "cart_reminder"))
    _at = "20T12:00" if _number < 2 else "20T10:30"
    STORIES[f"big-{_number}"].append(saw("reminder", _at, "cart_reminder"))
