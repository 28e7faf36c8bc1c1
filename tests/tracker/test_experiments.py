"""An experiment's variant: the same in the browser and in Python, evenly spread, told once."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from lambdas.experiments import assign
from tests.tracker.conftest import Script

EXPERIMENTS = ("button", "größe", "価格", "🛒 cart", "a:b")
IDENTITIES = [
    *(f"a-{number:016x}" for number in range(200)),
    *("", " ", "é", "e\u0301", "ß", "名前", "🧑‍🚀", "\x00", "a" * 5000, "user@example"),
]
WEIGHTS = ({"old": 1, "new": 1}, {"old": 90, "new": 10}, {"a": 1, "b": 0, "c": 3, "größer": 7})


def test_browser_and_python_give_everybody_the_same_variant(script: Script) -> None:
    asked = [
        [experiment, identity, weights]
        for experiment in EXPERIMENTS
        for identity in IDENTITIES
        if identity  # an empty one is no stored id
        for weights in WEIGHTS
    ]
    assert len(asked) > 3000
    found = script(f"""
        const page = browser.open(undefined, {{navigator: {{onLine: false}}}});
        return {json.dumps(asked)}.map(([experiment, identity, weights]) => {{
          browser.entries.set("cs.my.id", identity);
          // It was shown before, so that nothing is sent: this is about the choice.
          browser.entries.set("cs.my.x." + experiment,
            browser.entries.get("cs.my.session").split("\\n")[0]);
          return page.clickstream.variant(experiment, weights);
        }});
    """)
    assert found == [assign(*one) for one in asked]
    assert set(found) >= {"old", "new", "a", "c", "größer"}


def test_a_list_of_variants_shares_evenly(script: Script) -> None:
    identities = IDENTITIES[:200]
    found = script(f"""
        const page = browser.open();
        return {json.dumps(identities)}.map((identity) => {{
          browser.entries.set("cs.my.id", identity);
          return page.clickstream.variant("button", ["a", "b", "c"]);
        }});
    """)
    assert found == [assign("button", one, {"a": 1, "b": 1, "c": 1}) for one in identities]


def test_nobody_changes_sides_between_two_versions_of_the_code() -> None:
    found = [assign("button", f"a-{number}", {"0x": 1, "1x": 1})[0] for number in range(32)]
    assert "".join(found) == "00011110110010010101000110111110"


@pytest.mark.parametrize(
    "weights", [{"a": 1, "b": 1}, {"a": 1, "b": 1, "c": 1, "d": 1, "e": 1}, {"a": 90, "b": 10}]
)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_split_is_as_the_weights_say(experiment: str, weights: dict[str, int]) -> None:
    people = 20_000
    counts = Counter(assign(experiment, f"a-{n:016x}", weights) for n in range(people))
    expected = {name: people * weight / sum(weights.values()) for name, weight in weights.items()}
    chi_square = sum((counts[name] - e) ** 2 / e for name, e in expected.items())
    assert chi_square < 18.5, counts  # p = 0.001 at 4 degrees of freedom


def test_experiments_share_out_the_same_people_independently() -> None:
    pairs = Counter(
        (assign("one", identity, WEIGHTS[0]), assign("two", identity, WEIGHTS[0]))
        for identity in (f"a-{n:016x}" for n in range(20_000))
    )
    chi_square = sum((count - 5000) ** 2 / 5000 for count in pairs.values())
    assert len(pairs) == 4
    assert chi_square < 16.3  # p = 0.001 at 3 degrees of freedom


@pytest.mark.parametrize(
    "weights", [{}, {"a": 0}, {"a": 2, "b": -1}, {"1": 1, "b": 1}, {"a": 10_001}]
)
def test_weights_that_the_browser_reads_otherwise_are_refused(weights: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="'button'"):
        assign("button", "a-1", weights)


def test_an_exposure_is_sent_once_a_session_and_experiment(script: Script) -> None:
    first, second, exposures = script("""
        const page = browser.open();
        const ask = (experiments) => experiments.map((experiment) =>
          page.clickstream.variant(experiment, ["old", "new"]));
        const first = ask(["button", "price"]);
        ask(["price", "button"]);
        await browser.tick(30 * 60 * 1000 + 10);
        const second = ask(["new one", "button", "price"]);
        browser.open("https://shop.example/b").clickstream.variant("price", ["old", "new"]);
        await browser.tick(2000);
        const exposures = browser.events().filter((event) => event.event_type == "exposure");
        return [first, second, exposures];
    """)
    assert first == second[1:]
    told = [(event["metadata"]["experiment"], event["metadata"]["variant"]) for event in exposures]
    experiments = ["button", "price", "new one", "button", "price"]
    assert told == list(zip(experiments, first + second, strict=True))
    assert len({event["session_id"] for event in exposures}) == 2
