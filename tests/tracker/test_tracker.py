"""tracker.js by itself, in Node: what an event holds, what is stored, when it is sent again."""

from __future__ import annotations

import gzip
import json
import re
from itertools import pairwise

import pytest

from tests.tracker.conftest import TRACKER, Script

HALF_HOUR = 30 * 60 * 1000
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
LANDING = "https://shop.example/sale?utm_source=google&utm_medium=cpc&utm_campaign=autumn"


def test_the_shipped_file_is_smaller_than_3072_bytes_gzipped() -> None:
    assert len(gzip.compress(TRACKER.read_bytes(), 9)) < 3072


def test_it_needs_nothing_that_a_policy_without_eval_forbids() -> None:
    assert not re.search(r"\beval\b|new Function|innerHTML|import\s*\(", TRACKER.read_text())


# What an event holds


def test_an_event_holds_what_the_contract_names(script: Script) -> None:
    (event,) = script("""
        browser.open("https://shop.example/sale?size=4", {referrer: "https://www.bing.com/"});
        await browser.tick(2000);
        return browser.events();
    """)
    assert re.fullmatch(UUID, event.pop("event_id"))
    assert re.fullmatch(UUID, event.pop("anonymous_id"))
    assert re.fullmatch(UUID, event.pop("session_id"))
    assert event == {
        "event_type": "view",
        "event_timestamp": "2026-11-20T12:00:00.000Z",
        "page": "/sale",
        "page_url": "https://shop.example/sale?size=4",
        "referrer_url": "https://www.bing.com/",
        "device_type": "desktop",
        "metadata": {},
    }


def test_fields_of_a_call_join_the_event(script: Script) -> None:
    fields = {"product_id": "P-1", "price": 9.99, "quantity": 2, "currency": "EUR", "order_id": "o"}
    event = script(f"""
        browser.open().clickstream.track("purchase", {json.dumps(fields)});
        await browser.tick(2000);
        return browser.events()[1];
    """)
    assert event.items() >= {"event_type": "purchase", **fields}.items()


def test_page_and_product_come_from_the_document_where_it_names_them(script: Script) -> None:
    event = script("""
        const page = browser.open();
        page.window.document.documentElement.dataset = {page: "product", product_id: "P-7"};
        page.clickstream.track("zoom");
        await browser.tick(2000);
        return browser.events()[1];
    """)
    assert (event["page"], event["product_id"]) == ("product", "P-7")


def test_events_of_one_millisecond_keep_their_order(script: Script) -> None:
    times = script("""
        const page = browser.open();
        for (let i = 0; i < 5; i++) page.clickstream.track("zoom");
        await browser.tick(2000);
        return browser.events().map((event) => event.event_timestamp);
    """)
    assert times == sorted(set(times))


def test_ids_are_uuids_where_the_page_has_no_https(script: Script) -> None:
    (event,) = script("""
        browser.open("http://shop.example/", {http: true});
        await browser.tick(2000);
        return browser.events();
    """)
    assert re.fullmatch(UUID, event["event_id"])


@pytest.mark.parametrize(
    ("agent", "device_type"),
    [
        ("Mozilla/5.0 (Linux; Android 14; Pixel 8) Chrome/131.0.0.0 Mobile Safari", "mobile"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) Mobile/15E148", "mobile"),
        ("Mozilla/5.0 (iPad; CPU OS 18_1 like Mac OS X) Mobile/15E148", "tablet"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/131.0.0.0", "desktop"),
    ],
)
def test_the_device_is_named_as_the_lake_names_it(
    script: Script, agent: str, device_type: str
) -> None:
    (event,) = script(f"""
        browser.open(undefined, {{navigator: {{userAgent: {json.dumps(agent)}}}}});
        await browser.tick(2000);
        return browser.events();
    """)
    assert event["device_type"] == device_type


# Addresses


@pytest.mark.parametrize(
    ("address", "sent"),
    [
        ("/a?email=x&size=4&access_token=t&Password=p", "/a?size=4"),
        ("/a?q=anna@mail.example&size=4", "/a?q=&size=4"),
        ("/a?q=anna%40mail.example", "/a?q="),
        ("/user/anna@mail.example/orders", "/user//orders"),
        ("/a?gclid=1&fbclid=2&size=4", "/a?size=4"),
        ("/a#access_token=secret", "/a"),
        ("/#/cart?token=secret", "/#/cart"),
        ("/a?utm_source=x&q=lamp", "/a?q=lamp"),
        ("/a?q=phone", "/a?q=phone"),
    ],
)
def test_what_may_be_personal_is_taken_out_of_addresses(
    script: Script, address: str, sent: str
) -> None:
    view, click = script(f"""
        const address = "https://shop.example{address}";
        const page = browser.open(address, {{referrer: address}});
        page.click({{dataset: {{}}, id: "", href: address}});
        await browser.tick(2000);
        return browser.events();
    """)
    expected = f"https://shop.example{sent}"
    assert view["page_url"] == view["referrer_url"] == click["metadata"]["href"] == expected
    assert "anna" not in json.dumps(view)
    assert "secret" not in json.dumps(view)


def test_a_navigation_within_the_page_is_a_view_that_the_view_before_referred(
    script: Script,
) -> None:
    views = script("""
        const page = browser.open("https://shop.example/", {referrer: "https://www.bing.com/"});
        page.window.history.pushState(null, "", "/cart");
        page.window.history.pushState(null, "", "/cart#top");
        page.window.location.href = "https://shop.example/#/checkout";
        page.fire("popstate");
        await browser.tick(2000);
        return browser.events().map(({page, referrer_url}) => [page, referrer_url]);
    """)
    assert views == [
        ["/", "https://www.bing.com/"],
        ["/cart", "https://shop.example/"],
        ["/checkout", "https://shop.example/cart"],
    ]


def test_a_page_that_comes_back_out_of_the_cache_is_a_view(script: Script) -> None:
    types = script("""
        const page = browser.open();
        page.fire("pageshow", {persisted: false});
        page.fire("pageshow", {persisted: true});
        await browser.tick(2000);
        return browser.events().map((event) => event.event_type);
    """)
    assert types == ["view", "view"]


# Clicks


def test_a_click_says_what_was_clicked_and_never_its_text(script: Script) -> None:
    clicks = script("""
        const page = browser.open();
        const text = {textContent: "Anna", innerText: "Anna", value: "Anna", title: "Anna"};
        page.click({...text, dataset: {track: "menu"}, id: "m"});
        page.click({...text, dataset: {}, id: "send"});
        page.click({...text, dataset: {}, id: "mail", href: "mailto:anna@x.example"});
        page.click(null);
        await browser.tick(2000);
        return browser.events().slice(1);
    """)
    assert [event["event_type"] for event in clicks] == ["click"] * 3
    elements = [event["metadata"] for event in clicks]
    assert elements == [{"element": "menu"}, {"element": "send"}, {"element": "mail"}]
    assert "anna" not in json.dumps(clicks).lower()


# Who, which session, which campaign


def test_a_user_is_named_from_identify_to_reset(script: Script) -> None:
    events = script("""
        const page = browser.open();
        page.clickstream.identify("u-1");
        page.clickstream.track("login");
        page.clickstream.reset();
        page.clickstream.track("zoom");
        await browser.tick(2000);
        return browser.events();
    """)
    assert [event.get("user_id") for event in events] == [None, "u-1", None]
    before, known, after = events
    assert before["anonymous_id"] == known["anonymous_id"] != after["anonymous_id"]
    assert before["session_id"] == known["session_id"] != after["session_id"]


def test_nobody_is_not_a_user(script: Script) -> None:
    events = script("""
        const page = browser.open();
        for (const user of [null, undefined, ""]) page.clickstream.identify(user);
        page.clickstream.track("zoom");
        await browser.tick(2000);
        return browser.events();
    """)
    assert all("user_id" not in event for event in events)


def test_a_session_ends_after_thirty_minutes_of_silence(script: Script) -> None:
    first, second, third = script(f"""
        const page = browser.open();
        await browser.tick({HALF_HOUR - 1});
        page.clickstream.track("zoom");
        await browser.tick({HALF_HOUR});
        page.clickstream.track("zoom");
        await browser.tick(2000);
        return browser.events().map((event) => event.session_id);
    """)
    assert first == second != third


def test_tabs_and_pages_share_ids_and_session(script: Script) -> None:
    events = script("""
        const [one, two] = [browser.open(), browser.open("https://shop.example/b")];
        one.clickstream.identify("u-1");
        two.clickstream.track("zoom");
        await browser.tick(2000);
        return browser.events();
    """)
    assert len(events) == 3
    assert len({event["anonymous_id"] for event in events}) == 1
    assert len({event["session_id"] for event in events}) == 1
    assert events[-1]["user_id"] == "u-1"


def test_a_campaign_stands_in_the_landing_view_alone(script: Script) -> None:
    view, zoom, cart = script(f"""
        const page = browser.open("{LANDING}&utm_content=anna@x.example");
        page.clickstream.track("zoom");
        page.window.history.pushState(null, "", "/cart");
        await browser.tick(2000);
        return browser.events();
    """)
    assert view["metadata"] == {
        "utm_source": "google",
        "utm_medium": "cpc",
        "utm_campaign": "autumn",
    }
    assert view["page_url"] == "https://shop.example/sale"
    assert zoom["metadata"] == cart["metadata"] == {}


def test_another_campaign_starts_a_session_and_the_same_does_not(script: Script) -> None:
    sessions = script(f"""
        for (const url of ["https://shop.example/", "{LANDING}", "https://shop.example/b",
            "{LANDING}", "{LANDING}2"]) {{
          browser.open(url);
          await browser.tick(2000);
        }}
        return browser.events().map((event) => event.session_id);
    """)
    without, campaign, inside, again, other = sessions
    assert without != campaign == inside == again != other


# Batches


def test_events_of_two_seconds_go_in_one_request_with_the_key(script: Script) -> None:
    requests = script("""
        const page = browser.open();
        for (let i = 0; i < 4; i++) page.clickstream.track("zoom");
        await browser.tick(1999);
        const early = browser.requests.length;
        await browser.tick(1);
        return [early, ...browser.requests];
    """)
    early, request = requests
    assert early == 0
    assert len(request["events"]) == 5
    assert request["url"] == "https://collect.example/events"
    assert (request["method"], request["keepalive"]) == ("POST", True)
    assert request["headers"] == {"content-type": "application/json", "x-api-key": "k1"}


def test_twenty_events_go_at_once(script: Script) -> None:
    sizes = script("""
        const page = browser.open();
        for (let i = 0; i < 19; i++) page.clickstream.track("zoom");
        await browser.tick(0);
        return browser.requests.map(({events}) => events.length);
    """)
    assert sizes == [20]


def test_no_request_outgrows_what_keepalive_and_beacons_may_carry(script: Script) -> None:
    bodies = script("""
        const page = browser.open();
        for (let i = 0; i < 12; i++) page.clickstream.track("zoom", {note: "鮭".repeat(6000)});
        page.clickstream.track("zoom", {note: "x".repeat(30000)});
        page.clickstream.track("zoom");
        await browser.tick(60000);
        return browser.requests.map(({body}) => body);
    """)
    assert max(len(body.encode()) for body in bodies) < 64 * 1024
    assert sum(len(json.loads(body)) for body in bodies) == 1 + 12 + 1, (
        "the one too large is let go"
    )


def test_a_request_that_is_too_large_for_the_collector_is_halved(script: Script) -> None:
    sizes, waiting = script("""
        browser.answers = [{status: 413}, {status: 413}];
        const page = browser.open();
        for (let i = 0; i < 19; i++) page.clickstream.track("zoom");
        await browser.tick(5000);
        return [browser.requests.map(({events}) => events.length),
                [...browser.entries.keys()].filter((name) => name.startsWith("cs.e."))];
    """)
    assert sizes == [20, 10, 5, 5, 5, 5]
    assert waiting == []


def test_one_event_that_is_too_large_for_the_collector_is_let_go(script: Script) -> None:
    sizes = script("""
        browser.answers = [{status: 413}];
        browser.open();
        await browser.tick(60000);
        return browser.requests.map(({events}) => events.length);
    """)
    assert sizes == [1]


# Answers


@pytest.mark.parametrize("status", [202, 400])
def test_what_the_collector_has_taken_or_kept_is_not_sent_again(
    script: Script, status: int
) -> None:
    count, waiting = script(f"""
        browser.answers = [{{status: {status}}}];
        browser.open();
        await browser.tick(600000);
        const waiting = [...browser.entries.keys()].filter((name) => name.startsWith("cs.e."));
        return [browser.requests.length, waiting];
    """)
    assert (count, waiting) == (1, [])


@pytest.mark.parametrize("answer", ["{status: 500}", "{status: 403}", "{status: 415}", '"lost"'])
def test_what_was_not_taken_is_sent_again_later_and_later(script: Script, answer: str) -> None:
    times, ids = script(f"""
        browser.answers = Array(12).fill({answer});
        browser.open();
        await browser.tick(40 * 60000);
        return [browser.requests.map(({{at}}) => at),
                browser.events().map((event) => event.event_id)];
    """)
    pauses = [late - early for early, late in pairwise(times)]
    assert len(pauses) == 12
    assert len(set(ids)) == 1
    for number, pause in enumerate(pauses, 1):
        longest = min(2**number, 300) * 1000
        assert longest / 2 <= pause <= longest


def test_pauses_are_spread(script: Script) -> None:
    pauses = script("""
        const pauses = [];
        for (let i = 0; i < 20; i++) {
          browser.answers = [{status: 500}];
          browser.entries.clear();
          browser.requests.length = 0;
          const page = browser.open();
          await browser.tick(10000);
          pauses.push(Math.round(browser.requests[1].at - browser.requests[0].at));
        }
        return pauses;
    """)
    assert len(set(pauses)) > 10


def test_retry_after_is_honoured_also_by_the_next_page(script: Script) -> None:
    early, late = script("""
        browser.answers = [{status: 429, after: "90"}];
        browser.open();
        await browser.tick(2000);
        browser.open("https://shop.example/b");
        await browser.tick(89999);
        const early = browser.requests.length;
        await browser.tick(10);
        return [early, browser.requests.length];
    """)
    assert (early, late) == (1, 2)


def test_a_wait_of_more_than_an_hour_is_a_clock_that_was_set_back(script: Script) -> None:
    count = script("""
        browser.answers = [{status: 429, after: "3000"}];
        browser.open();
        await browser.tick(2000);
        browser.now -= 24 * 3600 * 1000;
        browser.open("https://shop.example/b");
        await browser.tick(2000);
        return browser.requests.length;
    """)
    assert count == 2


# Leaving


def test_on_leaving_the_rest_goes_by_beacon_once(script: Script) -> None:
    beacons, requests = script("""
        const page = browser.open();
        await browser.tick(2000);
        page.clickstream.track("zoom");
        page.leave();
        browser.open("https://shop.example/b");
        await browser.tick(5000);
        return [browser.beacons, browser.requests];
    """)
    (beacon,) = beacons
    assert beacon["url"] == "https://collect.example/beacon?key=k1"
    assert [event["event_type"] for event in beacon["events"]] == ["zoom"]
    sent = [event["event_id"] for request in [*requests, beacon] for event in request["events"]]
    assert len(sent) == len(set(sent)) == 3


def test_a_beacon_is_believed_only_after_a_good_answer(script: Script) -> None:
    beacons, requests = script("""
        browser.open().leave();
        browser.open("https://shop.example/b");
        await browser.tick(13000);
        return [browser.beacons, browser.requests];
    """)
    assert [len(beacon["events"]) for beacon in beacons] == [1]
    again = [event["event_id"] for request in requests for event in request["events"]]
    assert beacons[0]["events"][0]["event_id"] in again


@pytest.mark.parametrize("refusal", ["browser.answers = [{status: 500}]", "onLine = false"])
def test_nothing_goes_by_beacon_while_the_collector_fails_or_there_is_no_network(
    script: Script, refusal: str
) -> None:
    beacons, waiting = script(f"""
        const navigator = {{onLine: true}};
        {refusal.replace("onLine", "navigator.onLine")};
        const page = browser.open(undefined, {{navigator}});
        await browser.tick(2000);
        page.leave();
        return [browser.beacons.length, [...browser.entries.keys()].filter((k) => /^cs.e/.test(k))];
    """)
    assert beacons == 0
    assert len(waiting) == 1


def test_a_page_that_is_looked_at_again_sends_in_the_usual_way(script: Script) -> None:
    beacons, requests = script("""
        const page = browser.open();
        page.fire("visibilitychange");
        await browser.tick(2000);
        return [browser.beacons.length, browser.requests.length];
    """)
    assert (beacons, requests) == (0, 1)


def test_what_is_under_way_does_not_go_by_beacon_too(script: Script) -> None:
    beacons = script("""
        const page = browser.open(undefined, {window: {fetch: () => new Promise(() => {})}});
        await browser.tick(2000);
        page.leave();
        return browser.beacons;
    """)
    assert beacons == []


# The queue


def test_events_wait_for_the_network_and_go_when_it_is_back(script: Script) -> None:
    before, after = script("""
        const page = browser.open(undefined, {navigator: {onLine: false}});
        for (let i = 0; i < 30; i++) page.clickstream.track("zoom");
        await browser.tick(60000);
        const before = browser.requests.length;
        page.window.navigator.onLine = true;
        page.fire("online");
        await browser.tick(0);
        return [before, browser.requests.map(({events}) => events.length)];
    """)
    assert (before, after) == (0, [20])


def test_after_a_lost_request_the_queue_does_not_wait_once_the_network_is_back(
    script: Script,
) -> None:
    requests = script("""
        browser.answers = Array(99).fill("lost");
        const page = browser.open();
        await browser.tick(600000);
        const before = browser.requests.length;
        browser.answers = [];
        page.fire("online");
        await browser.tick(0);
        return browser.requests.length - before;
    """)
    assert requests == 1


def test_events_of_a_visit_without_network_go_at_the_next_visit(script: Script) -> None:
    events = script("""
        browser.open(undefined, {navigator: {onLine: false}}).leave();
        browser.open("https://shop.example/b");
        await browser.tick(13000);
        return browser.events().map((event) => event.page);
    """)
    assert sorted(events) == ["/", "/b"]


def test_five_hundred_events_wait_and_the_oldest_goes_first(script: Script) -> None:
    pages = script("""
        const page = browser.open(undefined, {navigator: {onLine: false}});
        for (let i = 0; i < 600; i++) page.clickstream.track("zoom", {page: "p" + i});
        page.window.navigator.onLine = true;
        page.fire("online");
        await browser.tick(5000);
        return browser.events().map((event) => event.page);
    """)
    assert pages == [f"p{number}" for number in range(100, 600)]


@pytest.mark.parametrize("storage", ["refused: true", "quota: 1", "quota: 700"])
def test_without_storage_the_page_keeps_its_events_in_memory(script: Script, storage: str) -> None:
    events = script(f"""
        browser.answers = [{{status: 500}}];
        const page = browser.open(undefined, {{{storage}}});
        page.clickstream.identify("u-1");
        page.clickstream.track("zoom");
        await browser.tick(10000);
        return browser.events();
    """)
    assert [event["event_type"] for event in events] == ["view", "zoom"] * 2
    assert len({event["anonymous_id"] for event in events}) == 1
    assert len({event["session_id"] for event in events}) == 1


def test_tabs_send_no_event_twice(script: Script) -> None:
    by_tab = script("""
        const pages = [1, 2, 3].map((i) => browser.open("https://shop.example/" + i));
        for (let i = 0; i < 30; i++) pages.forEach((page) => page.clickstream.track("zoom"));
        await browser.tick(20000);
        return browser.requests.map(({events}) => events.map(({page}) => page));
    """)
    assert sum(map(len, by_tab)) == 93
    assert all(len(set(pages)) == 1 for pages in by_tab)


def test_after_a_failure_tabs_with_locks_send_what_is_left_once(script: Script) -> None:
    ids = script("""
        let last = Promise.resolve();
        const locks = {request: (_name, work) => (last = last.then(work))};
        const pages = [1, 2, 3].map((i) => browser.open("https://shop.example/" + i,
                                                       {navigator: {locks, onLine: false}}));
        await browser.tick(60000);
        pages.forEach((page) => { page.window.navigator.onLine = true; });
        pages.forEach((page) => page.fire("online"));
        await browser.tick(60000);
        return browser.events().map((event) => event.event_id);
    """)
    assert len(ids) == len(set(ids)) == 3


# Refusal


@pytest.mark.parametrize("signal", ['doNotTrack: "1"', "globalPrivacyControl: true"])
def test_who_refuses_is_neither_stored_nor_sent(script: Script, signal: str) -> None:
    entries, sent, variant = script(f"""
        browser.entries.set("cs.my.id", "stored before").set("other", "the page's own");
        const page = browser.open("{LANDING}", {{navigator: {{{signal}}}}});
        const {{clickstream}} = page, atOnce = [...browser.entries.keys()];
        clickstream.track("zoom");
        clickstream.identify("u-1");
        clickstream.reset();
        clickstream.optIn();
        const variant = clickstream.variant("button", ["old", "new"]);
        page.click({{dataset: {{track: "menu"}}}});
        await browser.tick(60000);
        page.leave();
        clickstream.optOut();
        const sent = browser.requests.length + browser.beacons.length;
        return [[atOnce, [...browser.entries.keys()]], sent, variant];
    """)
    assert entries == [["other"], ["other"]]
    assert sent == 0
    assert variant == "old"


def test_opting_out_forgets_and_holds_until_opting_in(script: Script) -> None:
    entries, sent, types = script("""
        const page = browser.open();
        page.clickstream.identify("u-1");
        page.clickstream.optOut();
        browser.open("https://shop.example/b").clickstream.track("zoom");
        await browser.tick(5000);
        const left = [...browser.entries], sent = browser.requests.length;
        page.clickstream.optIn();
        page.clickstream.track("zoom");
        await browser.tick(5000);
        return [left, sent, browser.events().map((event) => event.event_type)];
    """)
    assert entries == [["cs.consent", "no"]]
    assert sent == 0
    assert types == ["zoom"]


def test_where_consent_is_asked_for_the_landing_view_waits_for_it(script: Script) -> None:
    before, events = script(f"""
        const page = browser.open("{LANDING}", {{script: {{consent: "no"}}}});
        await browser.tick(5000);
        const before = [browser.requests.length, browser.entries.size];
        page.clickstream.optIn();
        await browser.tick(2000);
        return [before, browser.events()];
    """)
    assert before == [0, 0]
    (view,) = events
    assert view["metadata"]["utm_campaign"] == "autumn"


# The page


def test_calls_from_before_the_load_are_made_up_for(script: Script) -> None:
    events = script("""
        const clickstream = [["identify", "u-1"], ["track", "zoom", {page: "early"}]];
        const page = browser.open(undefined, {window: {clickstream}});
        page.window.clickstream.push(["track", "zoom", {page: "late"}]);
        await browser.tick(2000);
        return browser.events().map(({event_type, page, user_id}) => [event_type, page, user_id]);
    """)
    assert events == [["view", "/", None], ["zoom", "early", "u-1"], ["zoom", "late", "u-1"]]


def test_loaded_twice_it_runs_once(script: Script) -> None:
    types = script("""
        const page = browser.open();
        page.run();
        page.click({dataset: {track: "menu"}});
        await browser.tick(2000);
        return browser.events().map((event) => event.event_type);
    """)
    assert types == ["view", "click"]


def test_the_page_never_sees_an_error(script: Script) -> None:
    script("""
        const page = browser.open("https://shop.example/", {referrer: "no address", window: {
          fetch: () => Promise.reject(new TypeError("blocked")),
        }});
        const circle = {};
        circle.circle = circle;
        for (const name of Object.keys(page.clickstream)) page.clickstream[name]();
        page.clickstream.track("zoom", circle);
        page.clickstream.track("zoom", {metadata: null, price: 1n});
        page.clickstream.push(["nothing"]);
        page.clickstream.variant("button", {});
        page.fire("click", {target: {}});
        page.fire("pageshow");
        page.window.navigator.sendBeacon = () => { throw new Error("blocked"); };
        page.leave();
        await browser.tick(60000);
    """)
