"""The request, the warehouse's predicates and the proof."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import duckdb
import pytest
from clickstream import erasure

SALT = "5a17"
PLAN: dict[str, Any] = {
    "id": "jr_1",
    "user": erasure.digest(SALT, "user", "ann"),
    "anonymous": [erasure.digest(SALT, "anonymous", "b-1")],
    "started_at": "2026-11-20T07:00:00+00:00",
    "days": ["2026-11-20"],
    "days_without_raw": [],
    "before": {"raw/clickstream": {"versions": 2, "count": 3, "values": 3}},
}
AFTER: dict[str, Any] = {
    "plan": "jr_1",
    "version_count": 1200,
    "buckets": ["raw", "processed"],
    "left": {},
}


@pytest.mark.parametrize(
    ("user_id", "confirm_user_id", "sentence"),
    [
        ("ann", "Ann", "confirm_user_id is not the same as user_id; type the id twice"),
        ("ann", "", "confirm_user_id is not the same as user_id; type the id twice"),
        (" ", " ", "user_id is blank; give the id as the events have it"),
    ],
)
def test_a_form_that_is_not_sure_gets_one_sentence_without_the_id(
    user_id: str, confirm_user_id: str, sentence: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        erasure.requested_id({"user_id": user_id, "confirm_user_id": confirm_user_id})


def test_the_id_is_taken_as_it_was_typed() -> None:
    form = {"user_id": " ann ", "confirm_user_id": " ann "}
    assert erasure.requested_id(form) == " ann "


ROWS = [
    ("ann", None, "/"),
    ("ann", "b-1", "/"),
    (None, "b-1", "/"),
    ("bob", "b-1", "/"),
    ("bob", None, "ann"),
    (None, "b-2", "/"),
]


def rows_of(predicate: str, columns: list[str]) -> list[int]:
    """The numbers of the rows for which Redshift's SQL holds, asked of DuckDB."""
    names = ["user_id", "anonymous_id", "page"]
    keys = "coalesce(user_id, anonymous_id) AS user_key"
    values = ", ".join(
        "(" + ", ".join("NULL" if v is None else f"'{v}'" for v in (n, *row)) + ")"
        for n, row in enumerate(ROWS)
    )
    shown = ", ".join(keys if name == "user_key" else name for name in columns)
    sql = predicate.replace("sha2(", "sha256(").replace(", 256)", ")").replace(":salt", f"'{SALT}'")
    table = f"(SELECT n, {shown} FROM (VALUES {values}) AS v (n, {', '.join(names)}))"
    found = duckdb.sql(f"SELECT n FROM {table} WHERE {sql} ORDER BY n").fetchall()
    return [int(n) for (n,) in found]


def test_the_warehouse_gives_up_the_persons_rows_and_no_other() -> None:
    columns = ["user_id", "anonymous_id", "page"]
    assert rows_of(erasure.owner_predicate(columns, PLAN), columns) == [0, 1, 2]
    alone = PLAN | {"anonymous": []}
    assert rows_of(erasure.owner_predicate(columns, alone), columns) == [0, 1]


def test_a_key_is_either_kind_of_id() -> None:
    assert rows_of(erasure.owner_predicate(["user_key"], PLAN), ["user_key"]) == [0, 1, 2]


def test_a_mention_is_told_too_where_it_cannot_be_another_thing() -> None:
    columns = ["user_id", "anonymous_id", "page"]
    assert rows_of(erasure.mention_predicate(columns, PLAN), columns) == [0, 1, 2, 4]
    assert erasure.mention_predicate(["product_id", "order_id"], PLAN) == "1 = 0"
    assert erasure.owner_predicate(["page"], PLAN) == "1 = 0"


def test_the_proof_is_good_only_when_nothing_is_left_anywhere() -> None:
    good = erasure.proof(PLAN, AFTER, {"fact_clicks": 3, "dim_dates": 0}, {"fact_clicks": 0})
    assert good["is_erased"] is True
    assert good["summary"] == (
        "nothing is left of the person in 1,200 object versions in 2 buckets and 1 tables"
    )
    assert good["before"] == PLAN["before"] | {"redshift/fact_clicks": {"count": 3}}
    assert good["left"] == {}

    lines = AFTER | {"left": {"raw/clickstream": {"versions": 1, "count": 2, "values": 0}}}
    bad = erasure.proof(PLAN, lines, {}, {"fact_clicks": 1})
    assert bad["is_erased"] is False
    assert bad["summary"].startswith("raw/clickstream 2, redshift/fact_clicks 1 is left of")
    mentions = AFTER | {"left": {"raw/clickstream": {"versions": 1, "count": 0, "values": 4}}}
    told = erasure.proof(PLAN, mentions, {}, {})
    assert told["is_erased"] is False
    assert told["summary"].startswith("raw/clickstream 4 is left of")


def test_a_proof_of_another_erasure_proves_nothing() -> None:
    with pytest.raises(ValueError, match="prove_lake has not run since"):
        erasure.proof(PLAN, AFTER | {"plan": "jr_0"}, {}, {})


def test_a_digest_is_of_salt_kind_and_id() -> None:
    assert PLAN["user"] == hashlib.sha256(b"5a17:user:ann").hexdigest()
