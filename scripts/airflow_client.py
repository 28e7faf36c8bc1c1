"""``python -m scripts.airflow_client DAG --date D``: run a DAG for one day and wait for its end."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx

#: A DAG file that is new, or Airflow's answer after a restart, may take this long to appear.
PATIENCE_SECONDS = 60
POLL_SECONDS = 1.0


class AirflowError(Exception):
    """One sentence about what Airflow refused or did not do."""


@dataclass(frozen=True)
class DagRun:
    """How a run ended.

    Attributes:
        state: ``success`` or ``failed``.
        error: the first failed task and its exception in one line; empty after a success.
    """

    dag_id: str
    run_id: str
    state: str
    seconds: float
    error: str = ""


class AirflowClient:
    """Airflow's REST API on loopback, as far as running a DAG needs it."""

    def __init__(self, port: int = 8080) -> None:
        self._address = f"http://127.0.0.1:{port}"
        self._http = httpx.Client(base_url=self._address, trust_env=False, timeout=30)

    def run(
        self,
        dag_id: str,
        day: date,
        conf: dict[str, Any] | None = None,
        *,
        timeout: float = 3600,
        report: Callable[[str], None] = lambda line: None,
    ) -> DagRun:
        """Run the DAG over the interval of `day`, again if that day has run before, and wait.

        Args:
            dag_id: the DAG; one that was just written is waited for.
            day: the UTC day that is the run's data interval.
            conf: the values of the DAG's form.
            timeout: seconds after which waiting (not the run) ends.
            report: called with a line about the progress whenever it changes.

        Raises:
            AirflowError: no such DAG, refused values, no answer, or no end within `timeout`.
        """
        dag = self.await_dag(dag_id)
        run_id = self._start(dag, day, conf or {})
        run = f"{dag}/dagRuns/{quote(run_id, safe='')}"
        deadline = time.monotonic() + timeout
        shown = ""
        while (state := self.call("GET", run))["state"] not in ("success", "failed"):
            if time.monotonic() > deadline:
                raise AirflowError(f"{dag_id} for {day} did not end within {timeout:.0f} s")
            if (line := self._progress(run)) != shown:
                report(shown := line)
            time.sleep(POLL_SECONDS)
        error = self._first_error(run) if state["state"] == "failed" else ""
        return DagRun(dag_id, run_id, state["state"], float(state["duration"] or 0), error)

    def await_dag(self, dag_id: str) -> str:
        """The DAG's path in the API, once Airflow knows the DAG.

        Raises:
            AirflowError: a file cannot be imported, or there is no such DAG.
        """
        dag = f"/dags/{quote(dag_id, safe='')}"
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.call("GET", dag, missing_is_none=True) is None:
            for problem in self.call("GET", "/importErrors")["import_errors"]:
                last_line = problem["stack_trace"].strip().split("\n")[-1]
                raise AirflowError(f"{problem['filename']} cannot be imported: {last_line}")
            if time.monotonic() > deadline:
                raise AirflowError(f"there is no DAG {dag_id}")
            time.sleep(POLL_SECONDS)
        return dag

    def _start(self, dag: str, day: date, conf: dict[str, Any]) -> str:
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        self.call("PATCH", f"{dag}?update_mask=is_paused", {"is_paused": False})
        at = quote(start.isoformat())
        runs = self.call("GET", f"{dag}/dagRuns?logical_date_gte={at}&logical_date_lte={at}")
        for run in runs["dag_runs"]:
            path = f"{dag}/dagRuns/{quote(run['dag_run_id'], safe='')}"
            if run["conf"] == conf:
                self.call("POST", f"{path}/clear", {"dry_run": False})
                return run["dag_run_id"]
            self.call("DELETE", path)  # a run's form values cannot be changed
        interval = {
            "logical_date": start.isoformat(),
            "data_interval_start": start.isoformat(),
            "data_interval_end": (start + timedelta(days=1)).isoformat(),
        }
        return self.call("POST", f"{dag}/dagRuns", {**interval, "conf": conf})["dag_run_id"]

    def _progress(self, run: str) -> str:
        tasks = self.call("GET", f"{run}/taskInstances?limit=200")["task_instances"]
        done = sum(task["state"] in ("success", "skipped") for task in tasks)
        active = [
            f"{task['task_id']} {task['state']}"
            for task in tasks
            if task["state"] not in (None, "success", "skipped", "removed")
        ]
        return f"{done}/{len(tasks)} tasks done" + (f", {', '.join(active)}" if active else "")

    def _first_error(self, run: str) -> str:
        tasks = self.call("GET", f"{run}/taskInstances?state=failed&limit=200")["task_instances"]
        if not tasks:
            return "no task failed"
        task = min(tasks, key=lambda task: task["end_date"] or "")
        log = self.call(
            "GET", f"{run}/taskInstances/{quote(task['task_id'])}/logs/{task['try_number']}"
        )
        message = "its log names no error"
        for entry in log["content"]:
            if not isinstance(entry, dict):
                continue
            if detail := entry.get("error_detail"):
                message = f"{detail[0]['exc_type']}: {detail[0]['exc_value']}"
            elif entry.get("level") in ("error", "critical"):
                message = entry["event"]
        return f"{task['task_id']}: {' '.join(message.split())}"

    def call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        missing_is_none: bool = False,
    ) -> Any:
        """One request to a path below ``/api/v2``; returns the answer's JSON.

        Raises:
            AirflowError: Airflow refused it, or does not answer.
        """
        # Patience is for a restart in mid-run, not for an Airflow that was never there.
        patience = PATIENCE_SECONDS if "authorization" in self._http.headers else 0
        deadline = time.monotonic() + patience
        while True:
            try:
                if "authorization" not in self._http.headers:
                    token = self._http.get("/auth/token").json()["access_token"]
                    self._http.headers["authorization"] = f"Bearer {token}"
                answer = self._http.request(method, f"/api/v2{path}", json=body)
                break
            # Asking again is safe: a second POST of the same logical date is refused.
            except httpx.TransportError as error:
                if time.monotonic() > deadline:
                    raise AirflowError(
                        f"no Airflow answers on {self._address} ({error}); start it (make up)"
                    ) from None
                time.sleep(POLL_SECONDS)
        if answer.status_code == 404 and missing_is_none:
            return None
        if answer.is_error:
            try:
                detail = answer.json()["detail"]
            except (ValueError, KeyError, TypeError):
                detail = answer.text
            sentence = detail.split("\n")[0] if isinstance(detail, str) else json.dumps(detail)
            raise AirflowError(f"Airflow refused {method} {path}: {sentence}")
        return answer.json() if answer.content else None


def main(argv: list[str] | None = None) -> int:
    """Run one DAG; 0 after a success, 1 after a failure."""
    parser = argparse.ArgumentParser(prog="airflow_client", description=__doc__)
    parser.add_argument("dag_id", metavar="DAG")
    parser.add_argument("--date", type=_day, required=True, help="YYYY-MM-DD (UTC)")
    parser.add_argument("--conf", type=_values, default={}, help="the form's values, as JSON")
    parser.add_argument("--port", type=int, default=8080, help="Airflow's port (8080)")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds to wait (3600)")
    given = parser.parse_args(argv)

    def report(line: str) -> None:
        if sys.stdout.isatty():
            print(f"\r\033[K{given.dag_id} {given.date}: {line}", end="", flush=True)
        else:
            print(f"{given.dag_id} {given.date}: {line}", flush=True)

    try:
        run = AirflowClient(given.port).run(
            given.dag_id, given.date, given.conf, timeout=given.timeout, report=report
        )
    except AirflowError as error:
        print(f"airflow: {error}", file=sys.stderr)
        return 1
    report(f"{run.state} after {run.seconds:.0f} s{': ' if run.error else ''}{run.error}")
    if sys.stdout.isatty():
        print()
    return 0 if run.state == "success" else 1


def _day(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date like 2026-11-20") from None


def _values(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None
    if not isinstance(values, dict):
        raise argparse.ArgumentTypeError("must be a JSON object")
    return values


if __name__ == "__main__":
    sys.exit(main())
