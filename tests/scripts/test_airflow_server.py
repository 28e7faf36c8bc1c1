"""A real local Airflow, started, used, crashed and stopped as a person would."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import psutil
import pytest

from scripts import airflow_server
from scripts.airflow_client import AirflowClient, AirflowError
from scripts.airflow_environment import ROOT, airflow_environment
from scripts.airflow_server import Server, Trouble, wait_until

DAGS = """
from datetime import UTC, datetime, timedelta

from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import CronDataIntervalTimetable, Param, dag, get_current_context, task


@dag(
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1),
    user_defined_macros={"in_a_moment": lambda: datetime.now(UTC) + timedelta(seconds=2)},
    params={"flavour": Param("plain", type="string")},
)
def trial():
    @task(retries=1, retry_delay=timedelta(seconds=0))
    def fail_once():
        if get_current_context()["ti"].try_number == 1:
            raise ValueError("the first try fails")

    @task
    def note_interval():
        context = get_current_context()
        return f"{context['data_interval_start']:%F %T} {context['data_interval_end']:%F %T}"

    # On a busy machine Airflow may fail a task that resumes right after its deferral; a retry
    # helps: https://github.com/apache/airflow/issues/72716
    wait = DateTimeSensorAsync(
        task_id="wait_for_moment",
        retries=1,
        retry_delay=timedelta(seconds=0),
        target_time="{{ in_a_moment() }}",
    )
    fail_once() >> wait >> note_interval()


@dag(schedule=None)
def broken():
    @task
    def raise_error():
        raise RuntimeError("column x\\nis missing")

    raise_error()


trial()
broken()
"""


class LocalAirflow:
    """One local Airflow in a folder of its own, driven by its command line."""

    def __init__(self, folder: Path) -> None:
        self.dags = folder / "dags"
        self.dags.mkdir()
        (self.dags / "trials.py").write_text(DAGS)
        self.home = folder / "airflow"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.options = ["--home", str(self.home), "--port", str(self.port)]
        self.options += ["--dags-folder", str(self.dags)]
        self.server = Server(self.home, self.port, "http://127.0.0.1:9", self.dags, False)

    def command(self, name: str) -> subprocess.CompletedProcess[str]:
        """One command of ``python -m scripts.airflow_server``."""
        return subprocess.run(
            [sys.executable, "-m", "scripts.airflow_server", name, *self.options],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def processes(self) -> list[psutil.Process]:
        """Every process of this Airflow's session, its PostgreSQL among them."""
        session = int((self.home / "lock").read_text())
        return [p for p in psutil.process_iter() if _session_of(p) == session]


def _session_of(process: psutil.Process) -> int | None:
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else os.getsid(process.pid)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return None


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    local = LocalAirflow(tmp_path_factory.mktemp("airflow"))
    started = local.command("start")
    assert started.returncode == 0, started.stderr
    yield local
    local.command("stop")


@pytest.fixture
def client(airflow: LocalAirflow) -> AirflowClient:
    return AirflowClient(airflow.port)


def test_start_leaves_all_components_healthy(airflow: LocalAirflow) -> None:
    assert airflow.server.health() == dict.fromkeys(
        ["metadatabase", "scheduler", "triggerer", "dag_processor"], "healthy"
    )
    assert airflow.command("status").returncode == 0
    assert "already running" in airflow.command("start").stdout


def test_every_listener_is_on_loopback(airflow: LocalAirflow) -> None:
    listeners = {
        connection.laddr
        for process in airflow.processes()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert ("127.0.0.1", airflow.port) in listeners
    assert {address.ip for address in listeners} == {"127.0.0.1"}


def test_metadata_lies_in_postgresql(airflow: LocalAirflow) -> None:
    environment = airflow_environment(airflow.home, port=airflow.port)
    address = environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    assert address.startswith("postgresql")
    assert any(process.name() == "postgres" for process in airflow.processes())


def test_a_retry_and_a_deferral_end_in_success(client: AirflowClient) -> None:
    lines: list[str] = []
    run = client.run("trial", date(2026, 9, 1), timeout=120, report=lines.append)
    assert (run.state, run.error) == ("success", "")
    assert any("wait_for_moment deferred" in line for line in lines)


def test_a_run_covers_the_day_it_is_asked_for(client: AirflowClient) -> None:
    run = client.run("trial", date(2026, 9, 2), timeout=120)
    path = f"/dags/trial/dagRuns/{run.run_id.replace('+', '%2B')}"
    value = client.call("GET", f"{path}/taskInstances/note_interval/xcomEntries/return_value")[
        "value"
    ]
    assert value.strip('"') == "2026-09-02 00:00:00 2026-09-03 00:00:00"


def test_running_a_day_again_clears_its_run_or_replaces_it_for_new_values(
    client: AirflowClient,
) -> None:
    first = client.run("trial", date(2026, 9, 3), timeout=120)
    again = client.run("trial", date(2026, 9, 3), timeout=120)
    other = client.run("trial", date(2026, 9, 3), {"flavour": "sweet"}, timeout=120)
    assert first.run_id == again.run_id != other.run_id
    assert again.state == other.state == "success"


def test_a_failed_task_is_told_in_one_line(client: AirflowClient) -> None:
    run = client.run("broken", date(2026, 9, 1), timeout=120)
    assert run.state == "failed"
    assert run.error == "raise_error: RuntimeError: column x is missing"


def test_refused_values_are_told_in_one_line(client: AirflowClient) -> None:
    with pytest.raises(AirflowError, match=r"Invalid input for param flavour: 5[^\n]*$"):
        client.run("trial", date(2026, 9, 4), {"flavour": 5})


def test_backfill_runs_every_day_of_its_range(airflow: LocalAirflow) -> None:
    environment = airflow_environment(airflow.home, port=airflow.port, dags_folder=airflow.dags)
    command = [sys.executable, "-m", "airflow", "backfill", "create", "--dag-id", "trial"]
    command += ["--from-date", "2026-08-01", "--to-date", "2026-08-03", "--max-active-runs", "3"]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)
    client = AirflowClient(airflow.port)
    runs: dict[str, str] = {}

    def all_ended() -> bool:
        found = client.call("GET", "/dags/trial/dagRuns?run_type=backfill")["dag_runs"]
        runs.update({run["logical_date"][:10]: run["state"] for run in found})
        return set(runs.values()) <= {"success", "failed"}

    assert wait_until(all_ended, 120)
    assert runs == dict.fromkeys(["2026-08-01", "2026-08-02", "2026-08-03"], "success")


def test_keys_are_made_once_for_their_owner_only(airflow: LocalAirflow) -> None:
    keys = airflow.home / "secrets.json"
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    first, second = (airflow_environment(airflow.home) for _ in range(2))
    assert first["AIRFLOW__CORE__FERNET_KEY"] == second["AIRFLOW__CORE__FERNET_KEY"]


def test_a_component_that_dies_is_started_again(airflow: LocalAirflow) -> None:
    supervisor = psutil.Process(int((airflow.home / "lock").read_text()))

    def triggerers() -> set[int]:
        found = set()
        for child in supervisor.children():
            with contextlib.suppress(psutil.NoSuchProcess):  # dead, and not yet waited for
                found |= {child.pid} if "triggerer" in child.cmdline() else set()
        return found

    (victim,) = triggerers()
    psutil.Process(victim).kill()
    assert wait_until(lambda: triggerers() - {victim}, 30)


def test_after_a_killed_supervisor_stop_ends_what_it_left_and_start_works(
    airflow: LocalAirflow,
) -> None:
    orphans = airflow.processes()
    stranger = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        psutil.Process(int((airflow.home / "lock").read_text())).kill()
        assert "survived a crash" in airflow.command("status").stdout
        assert "stopped" in airflow.command("stop").stdout
        assert not [process for process in orphans if process.is_running()]
        assert stranger.poll() is None
        assert "not running" in airflow.command("stop").stdout
    finally:
        stranger.kill()
        stranger.wait()
    assert airflow.command("start").returncode == 0
    assert "stopped" in airflow.command("stop").stdout
    assert not airflow.processes()


def test_a_number_that_another_program_got_is_never_signalled(tmp_path: Path) -> None:
    stranger = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        with (tmp_path / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.write(str(stranger.pid))
            lock.flush()
            with pytest.raises(Trouble, match="cannot be found"):
                Server(tmp_path, 1, "", tmp_path, False).stop()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_used_port_is_named_with_its_knob(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(
            Trouble, match=rf"^port {port} .* by .+, process {os.getpid()}\).*AIRFLOW_PORT"
        ):
            Server(tmp_path, port, "", tmp_path, False).start()


@pytest.mark.parametrize("port", ["", "abc", "0", "65536"])
def test_a_port_that_is_none_is_told_in_one_line(
    port: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert airflow_server.main(["--port", port, "status"]) == 1
    assert re.fullmatch(
        r"airflow: .* is not a port; set AIRFLOW_PORT .*\n", capsys.readouterr().err
    )


def test_no_airflow_is_told_at_once() -> None:
    with pytest.raises(AirflowError, match="make up"):
        AirflowClient(1).run("trial", date(2026, 9, 1))
