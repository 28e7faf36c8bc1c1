"""``make live-check``: a browser walks through the shop, and both paths tell the same.

A headless Chromium buys in the demo shop. Its purchase must alert once, within seconds; the daily
DAG must bring every event that the collector has accepted into fact_clicks; and the same lines put
on the stream once more must change no fact. It prints one line and ends with 0 if all that holds.
"""

from __future__ import annotations

import gzip
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scripts import live
from tests.conftest import ROOT, EmbeddedAws
from tests.e2e.conftest import Pipeline
from tests.tracker.conftest import BROWSERS, fill_form

ALERT_SECONDS = 10
LANDING = "?utm_source=newsletter&utm_medium=email&utm_campaign=autumn"


def main() -> int:
    """Run the check."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print(
            f"live-check: needs a browser: install Debian's package {BROWSERS[0]}", file=sys.stderr
        )
        return 1
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="live-", dir=build) as name,
        EmbeddedAws(Path(name) / "aws") as aws,
    ):
        aws.command("provision")
        pipeline = Pipeline(aws, Path(name))
        names = pipeline.config
        collector = live.find_collector(names, aws.client, aws.endpoint)
        with live.subscription(names, aws.client) as receive, live.shop(collector) as address:
            sent, alerts, seconds = walk(browser, address, receive)
        pipeline.airflow("start")
        try:
            lines = await_raw(pipeline, len(sent))
            first = load(pipeline)
            replay(aws, names.kinesis_stream)
            await_raw(pipeline, 2 * lines)
            second = load(pipeline)
        finally:
            pipeline.airflow("stop")
    facts = len(sent & {row["event_id"] for row in first})
    is_well = (
        facts == len(sent) > 0 and len(alerts) == 1 and seconds < ALERT_SECONDS and first == second
    )
    print(
        f"sent={len(sent)} facts={facts} alerts={len(alerts)} seconds={seconds:.1f} "
        f"unchanged_by_replay={'yes' if first == second else 'no'}"
    )
    return 0 if is_well else 1


def walk(
    browser: str, address: str, receive: Callable[[int], list[dict[str, Any]]]
) -> tuple[set[str], list[dict[str, Any]], float]:
    """Buy two things in the shop.

    Returns:
        The ids that the collector has accepted, the purchase alerts that came, and how long after
        the click the first one did.
    """
    from playwright.sync_api import Response, sync_playwright

    sent: set[str] = set()

    def note(answer: Response) -> None:
        if answer.url.endswith("/events") and answer.status == 202:
            sent.update(answer.json()["ids"])

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = started.new_page()
        page.on("response", note)
        page.goto(address + LANDING)
        page.click("#account")
        fill_form(page)
        bought_at = time.monotonic()
        page.click("#buy button")
        alerts: list[dict[str, Any]] = []
        while not alerts and time.monotonic() < bought_at + ALERT_SECONDS:
            alerts += _purchases(receive(1))
        seconds = time.monotonic() - bought_at
        while page.evaluate("Object.keys(localStorage).some((name) => name.startsWith('cs.e.'))"):
            page.wait_for_timeout(100)
        started.close()
    for _ in range(3):  # a second alert would come by now
        alerts += _purchases(receive(1))
    return sent, alerts, seconds


def _purchases(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [message for message in messages if message["kind"] == "purchase"]


def await_raw(pipeline: Pipeline, least: int) -> int:
    """Wait until Firehose has delivered so many lines; how many there are then."""
    s3, names = pipeline.aws.client("s3"), pipeline.config
    deadline = time.monotonic() + 60
    while True:
        found = s3.list_objects_v2(Bucket=names.buckets.raw, Prefix=names.prefixes.raw)
        count = sum(
            gzip.decompress(
                s3.get_object(Bucket=names.buckets.raw, Key=item["Key"])["Body"].read()
            ).count(b"\n")
            for item in found.get("Contents", [])
        )
        if count >= least:
            return count
        assert time.monotonic() < deadline, f"{count} of {least} lines were delivered"
        time.sleep(0.5)


def load(pipeline: Pipeline) -> list[dict[str, Any]]:
    """Run the daily DAG over today; the facts without the time they were written at."""
    run = pipeline.run(datetime.now(UTC).date())
    assert run.state == "success", run
    facts = [
        {name: value for name, value in row.items() if name != "processed_timestamp"}
        for row in pipeline.facts()
    ]
    return sorted(facts, key=lambda row: (row["event_id"], row["event_timestamp"]))


def replay(aws: EmbeddedAws, stream: str) -> None:
    """Put every record that the stream holds on it once more."""
    kinesis = aws.client("kinesis")
    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        iterator = kinesis.get_shard_iterator(
            StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        records = kinesis.get_records(ShardIterator=iterator, Limit=500)["Records"]
        again = [
            {"Data": record["Data"], "PartitionKey": record["PartitionKey"]} for record in records
        ]
        if again:
            answer = kinesis.put_records(StreamName=stream, Records=again)
            assert answer["FailedRecordCount"] == 0, answer


if __name__ == "__main__":
    sys.exit(main())
