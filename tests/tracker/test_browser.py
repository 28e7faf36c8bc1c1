"""The tracker and the demo shop in a real browser, against a real server on another port."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime
from typing import Any

import pytest

from tests.tracker.collector import KEY, Collector
from tests.tracker.conftest import buy

LANDING = "?utm_source=newsletter&utm_medium=email&utm_campaign=autumn&email=anna@mail.example"
HALF_HOUR = 30 * 60 * 1000


def waiting(page: Any) -> list[dict[str, Any]]:
    """The events that are stored and not yet taken."""
    texts = page.evaluate(
        "Object.keys(localStorage).filter((k) => k.startsWith('cs.e.')).map((k) => localStorage[k])"
    )
    return [json.loads(text) for text in texts]


def wait_for_empty_queue(page: Any) -> None:
    # Not by wait_for_function: it evaluates text, which the shop's policy forbids.
    end = time.monotonic() + 20
    while waiting(page):
        assert time.monotonic() < end, "events still wait"
        page.wait_for_timeout(50)


def ids(events: list[dict[str, Any]]) -> list[str]:
    return [event["event_id"] for event in events]


def test_events_go_in_batches_with_the_key_to_another_origin(
    context: Any, shop: str, collector: Collector
) -> None:
    page = context.new_page()
    page.goto(shop)
    page.evaluate("for (let i = 0; i < 30; i++) clickstream.track('zoom')")
    wait_for_empty_queue(page)
    assert [len(request.events) for request in collector.requests] == [20, 11]
    assert {request[:3] for request in collector.requests} == {("/events", "application/json", KEY)}
    assert len(set(ids(collector.events))) == 31


def test_leaving_sends_the_rest_by_beacon(context: Any, shop: str, collector: Collector) -> None:
    page = context.new_page()
    page.goto(shop)
    wait_for_empty_queue(page)
    page.evaluate("clickstream.track('zoom')")
    page.goto("about:blank")
    collector.wait_for(lambda: collector.of_type("zoom"))
    beacon = collector.requests[-1]
    assert (beacon.path, beacon.key) == (f"/beacon?key={KEY}", None)
    assert beacon.content_type.startswith("text/plain"), "another type would need a preflight"
    page.goto(shop)
    wait_for_empty_queue(page)
    assert len(collector.of_type("zoom")) == 1


def test_what_happens_without_network_is_sent_at_the_next_visit(
    context: Any, shop: str, collector: Collector
) -> None:
    page = context.new_page()
    page.goto(shop)
    wait_for_empty_queue(page)
    context.set_offline(True)
    page.click("text=Harbour Lamp")
    page.click("#add button")
    lost = ids(waiting(page))
    assert len(lost) > 4
    page.close()
    context.set_offline(False)
    page = context.new_page()
    page.goto(shop)
    wait_for_empty_queue(page)
    assert set(lost) <= set(ids(collector.events))
    assert len(collector.events) == len(set(ids(collector.events)))


def test_the_queue_goes_as_soon_as_the_network_is_back(
    context: Any, shop: str, collector: Collector
) -> None:
    page = context.new_page()
    page.goto(shop)
    wait_for_empty_queue(page)
    context.set_offline(True)
    page.evaluate("clickstream.track('zoom')")
    page.wait_for_timeout(2500)
    assert not collector.of_type("zoom")
    context.set_offline(False)
    wait_for_empty_queue(page)
    assert len(collector.of_type("zoom")) == 1


@pytest.mark.parametrize("status", [500, 503, 413])
def test_a_refused_batch_is_sent_again(
    context: Any, shop: str, collector: Collector, status: int
) -> None:
    collector.answers = [(status, {})]
    page = context.new_page()
    page.goto(shop)
    page.evaluate("clickstream.track('zoom')")
    wait_for_empty_queue(page)
    first = collector.requests[0]
    assert first.status == status
    if status == 413:
        assert len(collector.requests[1].events) < len(first.events)
    assert set(ids(collector.events)) == set(ids(first.events))


def test_retry_after_is_read_across_origins(context: Any, shop: str, collector: Collector) -> None:
    collector.answers = [(429, {"Retry-After": "5"})]
    page = context.new_page()
    page.goto(shop)
    with page.expect_response("**/events") as refused:
        pass
    assert refused.value.status == 429
    page.wait_for_timeout(3000)  # the tracker's own first pause is 2 seconds at most
    assert len(collector.requests) == 1
    wait_for_empty_queue(page)
    assert ids(collector.events) == ids(collector.requests[0].events)


def test_what_the_collector_has_kept_as_bad_is_not_sent_again(
    context: Any, shop: str, collector: Collector
) -> None:
    collector.answers = [(400, {})]
    page = context.new_page()
    page.goto(shop)
    wait_for_empty_queue(page)
    page.wait_for_timeout(2500)
    assert [request.status for request in collector.requests] == [400]


def test_two_tabs_send_each_event_once_in_one_session(
    context: Any, shop: str, collector: Collector
) -> None:
    tabs = [context.new_page(), context.new_page()]
    for tab in tabs:
        tab.goto(shop)
    for _ in range(3):
        for tab in tabs:
            tab.evaluate("for (let i = 0; i < 15; i++) clickstream.track('zoom')")
    for tab in tabs:
        wait_for_empty_queue(tab)
    assert len(collector.of_type("zoom")) == 90
    assert len(collector.events) == len(set(ids(collector.events)))
    assert len({event["session_id"] for event in collector.events}) == 1
    assert len({event["anonymous_id"] for event in collector.events}) == 1


def test_a_session_rolls_over_after_thirty_minutes_of_silence(
    context: Any, shop: str, collector: Collector
) -> None:
    page = context.new_page()
    page.clock.install(time=datetime(2026, 11, 20, 12))
    page.goto(shop)
    page.clock.pause_at(datetime(2026, 11, 20, 12, 5))
    for pause in (0, HALF_HOUR - 60_000, HALF_HOUR):
        page.clock.fast_forward(pause)
        page.evaluate("clickstream.track('zoom')")
    for _ in range(50):  # the page's time stands still, the network's does not
        page.clock.run_for(3000)
        page.wait_for_timeout(100)
        if len(collector.of_type("zoom")) == 3:
            break
    first, second, third = (event["session_id"] for event in collector.of_type("zoom"))
    assert first == second != third


@pytest.mark.parametrize(
    "signal", [{"doNotTrack": "1"}, {"globalPrivacyControl": True}], ids=["dnt", "gpc"]
)
def test_who_refuses_shops_untracked(
    context: Any, shop: str, collector: Collector, signal: dict[str, Any]
) -> None:
    for name, value in signal.items():
        context.add_init_script(
            f"Object.defineProperty(navigator, '{name}', {{get: () => {json.dumps(value)}}})"
        )
    page = context.new_page()
    errors: list[object] = []
    page.on("pageerror", lambda error: errors.append(error))
    page.goto(shop)
    buy(page)
    page.wait_for_timeout(2500)
    stored = page.evaluate("Object.keys(localStorage)")
    page.goto("about:blank")
    assert (stored, collector.requests, errors) == ([], [], [])


def test_a_purchase_is_told_from_the_landing_on(
    context: Any, shop: str, collector: Collector
) -> None:
    page = context.new_page()
    errors: list[object] = []
    page.on("pageerror", lambda error: errors.append(error))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.goto(shop + LANDING, referer="https://mail.example/inbox")
    page.click("#account")
    buy(page)
    wait_for_empty_queue(page)
    events = sorted(collector.events, key=lambda event: event["event_timestamp"])
    told = [
        (event["event_type"], event["page"]) for event in events if event["event_type"] != "click"
    ]
    assert told == [
        ("view", "home"),
        ("login", "home"),
        ("view", "product"),
        ("exposure", "product"),
        ("add_to_cart", "product"),
        ("view", "cart"),
        ("view", "checkout"),
        ("checkout", "checkout"),
        ("purchase", "checkout"),
        ("view", "confirmation"),
    ]
    assert errors == []
    landing, *rest = events
    assert landing["metadata"] == {
        "utm_source": "newsletter",
        "utm_medium": "email",
        "utm_campaign": "autumn",
    }
    assert not any("utm_source" in event["metadata"] for event in rest)
    assert "user_id" not in landing
    known = events[events.index(collector.of_type("login")[0]) :]
    assert len({event["user_id"] for event in known}) == 1
    (product,) = [event for event in collector.of_type("view") if event["page"] == "product"]
    assert product["product_id"] == "P-9002"
    assert product["page_url"] == f"{shop}#/product/P-9002"
    assert product["referrer_url"] == shop
    (purchase,) = collector.of_type("purchase")
    assert purchase["order_id"].startswith("o-")
    assert (purchase["price"], purchase["quantity"], purchase["currency"]) == (78.99, 2, "USD")
    typed = re.compile("anna|zaphod|quux|lake road", re.IGNORECASE)
    assert not typed.search(json.dumps(collector.events))


def test_going_back_is_a_view_of_the_page_one_comes_to(
    context: Any, shop: str, collector: Collector
) -> None:
    page = context.new_page()
    page.goto(shop)
    page.click("text=Harbour Lamp")
    page.go_back()
    page.wait_for_selector("h1:has-text('lakeside')")
    wait_for_empty_queue(page)
    views = [(event["page"], event.get("product_id")) for event in collector.of_type("view")]
    assert views == [("home", None), ("product", "P-9002"), ("home", None)]


def test_the_panel_shows_what_waits_and_what_was_taken(
    context: Any, shop: str, collector: Collector
) -> None:
    page = context.new_page()
    page.goto(shop)
    page.wait_for_selector("#sent .queued")
    page.wait_for_selector("#sent .accepted")
    assert page.inner_text("#summary") == "1 accepted, 0 queued"


def test_the_shop_is_usable_by_keyboard_alone(
    context: Any, shop: str, collector: Collector
) -> None:
    page = context.new_page()
    page.goto(shop)
    page.focus("a[href='#/product/P-9002']")
    page.keyboard.press("Enter")
    page.wait_for_selector("#add")
    assert page.evaluate("document.activeElement.tagName") == "H1"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "quantity"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Your cart")
    wait_for_empty_queue(page)
    assert len(collector.of_type("add_to_cart")) == 1


@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_of_the_shop_is_wider_than_the_window(context: Any, shop: str, width: int) -> None:
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": 844})
    for path in ("", "#/product/P-9005", "#/cart", "#/checkout", "#/confirmation"):
        page.goto(shop + path)
        page.wait_for_selector("h1")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
