from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from producer.dirt import DAY_MS, DIRTY, MALFORMED, Rates
from producer.journeys import Event
from producer.traffic import Clock, Plan, stream

ROOT = Path(__file__).resolve().parents[2]
MONDAY = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp() * 1000)
PLAN = Plan(start=MONDAY, end=MONDAY + DAY_MS, events=20_000, users=500, seed=7)
SEED_FIELDS = {
    "user_id", "session_id", "event_type", "page", "product_id", "timestamp", "device_type",
    "referrer_url", "location", "browser", "user_type",
}  # fmt: skip
CONTRACT = SEED_FIELDS | {
    "event_id", "event_timestamp", "anonymous_id", "page_url", "price", "quantity", "currency",
    "order_id", "user_agent", "ip_address", "metadata", "additional_data",
}  # fmt: skip
TYPES = {
    "view", "page_view", "click", "search", "add_to_cart", "remove_from_cart", "checkout",
    "purchase", "login", "signup",
}  # fmt: skip


def events_of(plan: Plan) -> list[Event]:
    return [event for chunk in stream(plan) for event in chunk]


def bodies_of(plan: Plan) -> list[dict[str, Any]]:
    return [orjson.loads(event.line) for event in events_of(plan)]


def time_of(body: dict[str, Any]) -> int:
    value = body.get("event_timestamp", body.get("timestamp"))
    if isinstance(value, int):
        return value
    return round(datetime.fromisoformat(value.rstrip("Z") + "+00:00").timestamp() * 1000)


@pytest.fixture(scope="module")
def clean() -> list[dict[str, Any]]:
    return bodies_of(PLAN)


def test_a_plan_gives_exactly_its_events_in_time_order_inside_the_window(
    clean: list[dict[str, Any]],
) -> None:
    times = [time_of(body) for body in clean]
    assert len(times) == PLAN.events
    assert times == sorted(times)
    assert PLAN.start <= times[0]
    assert times[-1] < PLAN.end


@pytest.mark.parametrize(("events", "seconds"), [(1, 1), (7, 1), (20_000, 1), (9_001, 40 * 86_400)])
def test_any_window_holds_any_number_of_distinct_events(events: int, seconds: int) -> None:
    plan = replace(PLAN, events=events, end=MONDAY + seconds * 1000, old_clients=0.5)
    lines = {event.line for event in events_of(plan)}
    assert len(lines) == events
    assert all(MONDAY <= time_of(orjson.loads(line)) < plan.end for line in lines)


def test_one_user_is_enough() -> None:
    assert len({body["anonymous_id"] for body in bodies_of(replace(PLAN, users=1))}) == 1


def test_every_event_keeps_the_contract(clean: list[dict[str, Any]]) -> None:
    for body in clean:
        assert body["event_type"] in TYPES
        assert body.keys() <= CONTRACT
        assert body.get("user_id") or body.get("anonymous_id")
        if body["event_type"] == "purchase":
            assert body["price"] > 0
            assert body["quantity"] >= 1
            assert body["currency"] == "USD"
            assert body["order_id"]
        metadata = body.get("metadata", body.get("additional_data", {}))
        assert all(isinstance(value, str) for value in metadata.values())
    assert {name for body in clean for name in body} == CONTRACT
    assert {body["event_type"] for body in clean} == TYPES


def test_ids_never_repeat_even_between_runs(clean: list[dict[str, Any]]) -> None:
    next_day = replace(PLAN, start=PLAN.end, end=PLAN.end + DAY_MS)
    ids = [body["event_id"] for body in clean + bodies_of(next_day) if "event_id" in body]
    assert len(set(ids)) == len(ids)
    assert all(len(event_id) == 36 for event_id in ids)


def test_the_small_schemas_of_the_field_occur_as_often_as_asked(
    clean: list[dict[str, Any]],
) -> None:
    bare = [body for body in clean if "event_id" not in body]
    legacy = [body for body in clean if isinstance(body.get("timestamp"), int)]
    assert 0.015 < len(bare) / len(clean) < 0.05
    assert 0.015 < len(legacy) / len(clean) < 0.05
    assert {name for body in bare for name in body} >= SEED_FIELDS
    assert not any("metadata" in body or "additional_data" in body for body in bare)
    assert all("additional_data" in body for body in legacy)
    assert all("event_timestamp" in body for body in bodies_of(replace(PLAN, old_clients=0)))


def test_a_purchase_follows_checkout_follows_add_to_cart(clean: list[dict[str, Any]]) -> None:
    steps: dict[str, list[str]] = defaultdict(list)
    carts: dict[str, int] = defaultdict(int)
    for body in clean:
        person, kind = body["anonymous_id"], body["event_type"]
        carts[person] += {"add_to_cart": 1, "remove_from_cart": -1, "purchase": -1}.get(kind, 0)
        assert carts[person] >= 0
        steps[body["session_id"]].append(kind)
    bought = [kinds for kinds in steps.values() if "purchase" in kinds]
    assert bought
    assert all("checkout" in kinds[: kinds.index("purchase")] for kinds in bought)


def test_only_the_product_on_the_page_can_be_added() -> None:
    shown: dict[str, str] = {}
    for body in bodies_of(replace(PLAN, old_clients=0)):
        if body["event_type"] == "add_to_cart":
            assert body["page"] == "product"
            assert body["product_id"] == shown[body["session_id"]]
        elif body["event_type"] == "view" and body["page"] == "product":
            shown[body["session_id"]] = body["product_id"]


def test_fewer_get_to_every_further_step(clean: list[dict[str, Any]]) -> None:
    count = Counter(body["event_type"] for body in clean)
    funnel = [count[kind] for kind in ("view", "add_to_cart", "checkout", "purchase")]
    assert funnel == sorted(funnel, reverse=True)
    assert 0.01 < count["purchase"] / len({body["session_id"] for body in clean}) < 0.2


def test_who_has_logged_in_is_known_from_then_on(clean: list[dict[str, Any]]) -> None:
    known: dict[str, str] = {}
    for body in clean:
        person, user = body["anonymous_id"], body.get("user_id")
        if user:
            assert known.setdefault(person, user) == user
    signed_up = {body["anonymous_id"] for body in clean if body["event_type"] == "signup"}
    assert signed_up
    before = {body["anonymous_id"] for body in clean if "user_id" not in body}
    assert signed_up & before


def test_the_same_people_come_back_the_next_day() -> None:
    today = {body["anonymous_id"] for body in bodies_of(PLAN)}
    next_day = replace(PLAN, start=PLAN.end, end=PLAN.end + DAY_MS)
    assert len(today & {body["anonymous_id"] for body in bodies_of(next_day)}) > 300


def test_a_product_has_one_price() -> None:
    prices = defaultdict(set)
    for body in bodies_of(PLAN) + bodies_of(replace(PLAN, start=MONDAY - DAY_MS)):
        if "price" in body:
            prices[body["product_id"]].add(body["price"])
    assert len(prices) > 50
    assert all(len(values) == 1 for values in prices.values())


def test_campaigns_show_in_the_landing_page_and_its_metadata(clean: list[dict[str, Any]]) -> None:
    landings = [body for body in clean if "utm_campaign=" in body.get("page_url", "")]
    assert 0.01 < len(landings) / len(clean) < 0.1
    for body in landings:
        metadata = body.get("metadata") or body["additional_data"]
        assert f"utm_campaign={metadata['utm_campaign']}" in body["page_url"]


def test_some_visitors_are_robots_and_robots_only_read(clean: list[dict[str, Any]]) -> None:
    robots = [body for body in clean if "bot/" in body.get("user_agent", "")]
    assert 0 < len(robots) / len(clean) < 0.1
    assert {body["event_type"] for body in robots} <= {"view", "page_view"}


def test_traffic_follows_the_hour_and_the_weekday() -> None:
    week = replace(PLAN, end=MONDAY + 7 * DAY_MS)
    moments = [datetime.fromtimestamp(event.at / 1000, UTC) for event in events_of(week)]
    hours = Counter(moment.hour for moment in moments)
    days = Counter(moment.weekday() for moment in moments)
    assert hours[20] > 5 * hours[3]
    assert days[6] > 1.15 * days[1]


def test_the_clock_gives_the_whole_window_in_order() -> None:
    odd = replace(PLAN, start=MONDAY + 1_234_567, end=MONDAY + 9_876_543)
    for plan in (odd, replace(odd, is_flat=True), replace(odd, end=odd.start + 1000)):
        clock = Clock(plan)
        times = [clock.at(share / 1000) for share in range(1001)]
        assert times == sorted(times)
        assert (times[0], times[-1]) == (plan.start, plan.end)


def test_dirt_adds_lines_and_costs_no_event() -> None:
    rates = Rates(0.05, 0.05, 0.05, 0.05, 0.05, 0.05)
    soiled = events_of(replace(PLAN, rates=rates))
    kinds = Counter(event.dirt.partition(".")[0] for event in soiled)
    assert kinds[""] + kinds["late"] + kinds["unknown_fields"] == PLAN.events
    for kind in ("duplicates", "late", "malformed", "unknown_fields", "collisions", "blank"):
        assert 0.04 < kinds[kind] / PLAN.events < 0.06, kind
    untouched = {event.line for event in soiled if not event.dirt}
    assert untouched < {event.line for event in events_of(PLAN)}


def test_a_late_event_keeps_its_form_and_happened_up_to_late_days_before() -> None:
    plan = replace(PLAN, rates=Rates(late=0.5), late_days=2.0, old_clients=0.5)
    late = [event for event in events_of(plan) if event.dirt == "late"]
    forms = set()
    for event in late:
        body = orjson.loads(event.line)
        assert 3_600_000 <= event.at - time_of(body) <= 2 * DAY_MS
        stamp = body.get("event_timestamp", body.get("timestamp"))
        forms.add("epoch" if isinstance(stamp, int) else stamp[-1:] == "Z")
    assert forms == {"epoch", True, False}


def test_copies_are_exact_and_collisions_differ_in_more_than_the_key() -> None:
    soiled = events_of(replace(PLAN, rates=Rates(duplicates=0.2, collisions=0.2)))
    originals = {event.line for event in soiled if not event.dirt}
    by_id = {
        body["event_id"]: body for line in originals if "event_id" in (body := orjson.loads(line))
    }
    for event in soiled:
        if event.dirt == "duplicates":
            assert event.line in originals
        elif event.dirt == "collisions":
            body = orjson.loads(event.line)
            assert time_of(body) == time_of(by_id[body["event_id"]])
            assert body != by_id[body["event_id"]]


def test_unknown_fields_are_unknown() -> None:
    for event in events_of(replace(PLAN, events=2_000, rates=Rates(unknown_fields=1.0))):
        assert len(orjson.loads(event.line).keys() - CONTRACT) == 1


def test_every_kind_of_malformed_line_occurs_and_is_one_line() -> None:
    broken: dict[str, list[bytes]] = defaultdict(list)
    for event in events_of(replace(PLAN, events=3_000, rates=Rates(malformed=1.0))):
        if event.dirt:
            broken[event.dirt.removeprefix("malformed.")].append(event.line)
    assert broken.keys() == MALFORMED.keys()
    for kind, lines in broken.items():
        assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines), kind
    readable = {"missing_field", "bad_time", "type_change", "duplicate_key", "array", "scalar"}
    for kind in MALFORMED.keys() - readable - {"infinite_number", "huge_number"}:
        for line in broken[kind]:
            with pytest.raises(orjson.JSONDecodeError):
                orjson.loads(line)
    assert all(orjson.loads(line[:-1].decode("utf-16").encode()) for line in broken["utf16"])
    for line in broken["missing_field"]:
        body = orjson.loads(line)
        assert (
            "event_type" not in body
            or not body.keys() & {"event_timestamp", "timestamp"}
            or not body.keys() & {"user_id", "anonymous_id"}
        )


def test_a_broken_line_never_carries_the_id_of_a_good_one() -> None:
    soiled = events_of(replace(PLAN, events=5_000, rates=Rates(malformed=0.5)))
    good = {orjson.loads(event.line).get("event_id") for event in soiled if not event.dirt}
    for event in soiled:
        if event.dirt in ("malformed.missing_field", "malformed.bad_time"):
            assert orjson.loads(event.line)["event_id"] not in good


def test_the_same_plan_makes_the_same_bytes_whatever_the_hash_seed() -> None:
    program = (
        "import hashlib\n"
        "from producer.dirt import DIRTY\n"
        "from producer.traffic import Plan, stream\n"
        f"plan = Plan({PLAN.start}, {PLAN.end}, 20_000, 500, 7, rates=DIRTY)\n"
        "lines = b''.join(event.line for chunk in stream(plan) for event in chunk)\n"
        "print(hashlib.sha256(lines).hexdigest())\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={"PYTHONHASHSEED": hash_seed, "TZ": zone},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for hash_seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    }
    here = b"".join(event.line for event in events_of(replace(PLAN, rates=DIRTY)))
    assert digests == {hashlib.sha256(here).hexdigest()}
    other = b"".join(event.line for event in events_of(replace(PLAN, rates=DIRTY, seed=8)))
    assert other != here
