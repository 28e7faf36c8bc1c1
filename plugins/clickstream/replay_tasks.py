"""The Python tasks of clickstream_replay_quarantine."""

from __future__ import annotations

import logging
from datetime import UTC
from typing import Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from clickstream import replay
from clickstream.config import Config
from clickstream.replay import Request

log = logging.getLogger(__name__)

CONFIG = Config.from_environment()


def _request() -> Request:
    params = get_current_context()["params"]
    try:
        return Request(params["reason"], params["first_day"], params["last_day"])
    except ValueError as error:
        raise AirflowFailException(str(error)) from None


@task
def count_quarantine() -> list[dict[str, Any]]:
    """How many lines of each day and reason lie in quarantine before the replay."""
    return replay.count(CONFIG, _request())


@task
def resolve_days(counts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The daily runs to start: one for each day that holds lines of the reason.

    A run id of its own for each day: the day's scheduled run, or runs of its hours, stay as they
    are, and the next replay of the day clears this run instead of adding another.
    """
    found = replay.days(_request(), counts)
    log.info("Days to replay: %s", ", ".join(found) or "none")
    return [{"trigger_run_id": f"replay__{day}", "conf": {"date": day}} for day in found]


@task(trigger_rule="none_failed")  # without a day to replay there is still something to say
def publish_remainder(before: list[dict[str, Any]]) -> dict[str, Any]:
    """Count again; what was mended and what remains, by day and reason."""
    request, run = _request(), get_current_context()["dag_run"]
    report = replay.compare(request, before, replay.count(CONFIG, request) if before else [])
    address = replay.save(CONFIG, run.run_after.astimezone(UTC), report)
    log.info("%s Report: %s", replay.describe(report), address)
    return report
