"""``python -m scripts.airflow_server``: start, stop and look at the local Airflow.

One supervisor, in a session of its own, runs PostgreSQL and Airflow's four components, starts again
what dies, and ends all of them with itself.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import importlib.metadata
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from scripts.airflow_environment import ROOT, airflow_environment
from scripts.postgres import Postgres

POOLS_FILE = ROOT / "plugins" / "clickstream" / "pools.json"
START_TIMEOUT_SECONDS = 180
#: How long a component may take to end by itself: a running task is given this long.
GRACE_SECONDS = 10
STOP_TIMEOUT_SECONDS = 2 * GRACE_SECONDS + 5
#: A component that dies is started again after 1, 2, 4 … seconds; a minute of life forgives it.
LONGEST_PAUSE_SECONDS = 30
FORGIVEN_AFTER_SECONDS = 60

# The log servers of the scheduler and the triggerer listen on every interface; the API server reads
# the same files from disk.
COMPONENTS = {
    "api-server": ["api-server"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}


class Trouble(Exception):
    """One sentence for the user."""


@dataclass
class Server:
    """One local Airflow: where its state lies and how it is reached."""

    home: Path
    port: int
    aws_endpoint: str
    dags_folder: Path
    is_scheduled: bool

    @property
    def address(self) -> str:
        """Where the UI and the REST API answer."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def logs(self) -> Path:
        """The folder of the components' and the tasks' logs."""
        return self.home / "logs"

    def start(self) -> int:
        """Start in the background and wait until all components are healthy."""
        if _supervisor(self.home) is not None:
            if not wait_until(self.is_healthy, 30):
                raise Trouble(
                    f"it runs, but is not healthy on port {self.port}; see {self.logs}, "
                    "or stop it first (make down)"
                )
            print(f"airflow: already running on {self.address}")
            return 0
        if _end_survivors(self.home):
            print("airflow: ended what a crash had left running")
        _require_free(self.port)
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / "supervisor.log"
        with log.open("wb") as out:
            child = subprocess.Popen(
                [sys.executable, "-m", "scripts.airflow_server", *self._arguments(), "supervise"],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        wait_until(lambda: child.poll() is not None or self.is_healthy(), START_TIMEOUT_SECONDS)
        if child.poll() is not None:
            lines = log.read_text(errors="replace").split("\n")
            raise Trouble(f"it did not start: {next(filter(None, reversed(lines)), log)}")
        if not self.is_healthy():
            self.stop()
            raise Trouble(f"it was not healthy within {START_TIMEOUT_SECONDS} s; see {self.logs}")
        print(f"airflow: running on {self.address}, state in {self.home}")
        return 0

    def stop(self) -> int:
        """End the supervisor and all it started, and nothing else."""
        supervisor = _supervisor(self.home)
        if supervisor is not None:
            supervisor.terminate()
            wait_until(lambda: not _is_locked(self.home), STOP_TIMEOUT_SECONDS)
        ended = _end_survivors(self.home)
        if _is_locked(self.home):
            raise Trouble(f"a process that cannot be found keeps {self.home / 'lock'} open")
        print("airflow: stopped" if supervisor or ended else "airflow: not running")
        return 0

    def status(self) -> int:
        """Print whether it runs; 1 when it does not."""
        if _supervisor(self.home) is None:
            leftover = "; parts of it survived a crash (make down ends them)"
            print(f"airflow: not running{leftover if _is_locked(self.home) else ''}")
            return 1
        states = self.health()
        print(
            f"airflow: on {self.address}: "
            + (", ".join(f"{name} {state}" for name, state in states.items()) or "no answer")
        )
        return 0 if self.is_healthy() else 1

    def health(self) -> dict[str, str]:
        """Each component's health as the API server sees it; empty when it does not answer."""
        try:
            answer = httpx.get(f"{self.address}/api/v2/monitor/health", trust_env=False, timeout=10)
            return {name: part["status"] or "unknown" for name, part in answer.json().items()}
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def is_healthy(self) -> bool:
        """Whether the database, scheduler, triggerer and DAG processor are all healthy."""
        states = self.health()
        return len(states) >= 4 and all(state == "healthy" for state in states.values())

    def supervise(self) -> int:
        """Run everything until SIGTERM (what `start` starts in the background)."""
        environment = airflow_environment(
            self.home,
            port=self.port,
            aws_endpoint=self.aws_endpoint,
            dags_folder=self.dags_folder,
            is_scheduled=self.is_scheduled,
        )
        airflow = [sys.executable, "-m", "airflow"]
        postgres = Postgres(self.home / "pg")
        is_ending = False

        def end(*_: Any) -> None:
            nonlocal is_ending
            is_ending = True

        with _lock(self.home) as lock:
            signal.signal(signal.SIGTERM, end)
            signal.signal(signal.SIGINT, end)
            postgres.prepare()
            common: dict[str, Any] = {"pass_fds": (lock,), "process_group": 0}
            database = Program(
                "postgres",
                postgres.command,
                self.logs,
                {"cwd": postgres.data, **common, **postgres.identity},
                end_signal=signal.SIGINT,
            )
            programs = [
                Program(name, airflow + command, self.logs, {"env": environment, **common})
                for name, command in COMPONENTS.items()
            ]
            try:
                database.keep_alive()
                if not wait_until(lambda: is_ending or postgres.is_ready(), 60):
                    raise Trouble(f"PostgreSQL did not start; see {database.log}")
                if not is_ending:
                    _prepare(airflow, environment, self.home, common)
                while not is_ending:
                    for program in (database, *programs):
                        program.keep_alive()
                    time.sleep(0.2)
            finally:
                for group in (programs, [database]):
                    for program in group:
                        program.ask_to_end()
                    deadline = time.monotonic() + GRACE_SECONDS
                    for program in group:
                        program.end(deadline)
        return 0

    def _arguments(self) -> list[str]:
        arguments = ["--home", str(self.home), "--port", str(self.port)]
        arguments += ["--aws-endpoint", self.aws_endpoint, "--dags-folder", str(self.dags_folder)]
        return arguments + ["--scheduled"] * self.is_scheduled


@dataclass
class Program:
    """One supervised program: its process, if it has one, and when to start it again."""

    name: str
    command: list[str]
    logs: Path
    options: dict[str, Any]
    end_signal: signal.Signals = signal.SIGTERM
    _process: subprocess.Popen[bytes] | None = None
    _started: float = 0
    _next_start: float = 0
    _pause: float = field(default=1, repr=False)

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.logs / f"{self.name}.log"

    def keep_alive(self) -> None:
        """Start it when it does not run; after a death, only once its pause is over."""
        now = time.monotonic()
        if self._process is not None:
            status = self._process.poll()
            if status is None:
                return
            self._kill_group()
            if now - self._started > FORGIVEN_AFTER_SECONDS:
                self._pause = 1
            self._next_start = now + self._pause
            print(f"{self.name} ended with {status}; next start in {self._pause:.0f} s", flush=True)
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
            self._process = None
        if now < self._next_start:
            return
        with self.log.open("ab" if self._started else "wb") as out:
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **self.options
            )
        self._started = now
        print(f"{self.name} started as process {self._process.pid}", flush=True)

    def ask_to_end(self) -> None:
        """Send it its signal to end."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(self.end_signal)

    def end(self, deadline: float) -> None:
        """Wait for its end, and force it after `deadline` (of the monotonic clock)."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            print(f"{self.name} did not end by itself", flush=True)
        self._kill_group()
        self._process.wait()

    def _kill_group(self) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


def _prepare(
    airflow: list[str], environment: dict[str, str], home: Path, options: dict[str, Any]
) -> None:
    """Bring the database to this Airflow's version and these pools, once for each of them."""
    stamp = home / "migrated"
    wanted = importlib.metadata.version("apache-airflow") + POOLS_FILE.read_text(encoding="utf-8")
    if stamp.exists() and stamp.read_text() == wanted:
        return
    log = home / "logs" / "migrate.log"
    with log.open("wb") as out:
        for command in (["db", "migrate"], ["pools", "import", str(POOLS_FILE)]):
            done = subprocess.run(
                airflow + command, env=environment, stdout=out, stderr=out, check=False, **options
            )
            if done.returncode != 0:
                raise Trouble(f"airflow {' '.join(command[:2])} failed; see {log}")
    stamp.write_text(wanted)


# The lock says what runs. Every process of the server inherits its descriptor, so it is free only
# when the last of them has ended, crash or not; and the file names the supervisor, whose number is
# also the number of their session.
@contextlib.contextmanager
def _lock(home: Path) -> Iterator[int]:
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Trouble(f"another process uses {home}") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield file.fileno()


def _is_locked(home: Path) -> bool:
    path = home / "lock"
    if not path.exists():
        return False
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _members(home: Path) -> list[psutil.Process]:
    """The processes of the server that holds `home`, the supervisor first if it lives.

    A session's number alone could belong to a stranger by now; a member that has the lock open
    proves that it is ours.
    """
    if not _is_locked(home):
        return []
    lock = home / "lock"
    session = int(lock.read_text() or 0)
    members = [process for process in psutil.process_iter() if _session(process) == session]
    if not any(_has_open(process, lock) for process in members):
        return []
    return sorted(members, key=lambda process: process.pid != session)


def _supervisor(home: Path) -> psutil.Process | None:
    members = _members(home)
    is_alive = bool(members) and members[0].pid == _session(members[0])
    return members[0] if is_alive else None


def _session(process: psutil.Process) -> int | None:
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else os.getsid(process.pid)
    except (psutil.Error, ProcessLookupError, PermissionError):
        return None


def _has_open(process: psutil.Process, path: Path) -> bool:
    try:
        return any(file.path == str(path) for file in process.open_files())
    except psutil.Error:
        return False


def _end_survivors(home: Path) -> bool:
    """End what a killed supervisor has left behind; whether there was anything."""
    members = _members(home)
    survivors = {*members, *(child for m in members for child in m.children(recursive=True))}
    for end in (psutil.Process.terminate, psutil.Process.kill):
        for process in survivors:
            with contextlib.suppress(psutil.NoSuchProcess):
                end(process)
        survivors = set(psutil.wait_procs(survivors, timeout=GRACE_SECONDS)[1])
    return bool(members)


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise Trouble(
                f"port {port} cannot be used ({error.strerror}{_holder(port)}); "
                "stop the program that holds it or set AIRFLOW_PORT to another"
            ) from None


def _holder(port: int) -> str:
    """Who listens on the port, as far as this user may know."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            is_it = connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            if is_it and connection.pid:
                return f" by {psutil.Process(connection.pid).name()}, process {connection.pid}"
    return ""


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 65535:
        return int(text)
    raise Trouble(f"{text!r} is not a port; set AIRFLOW_PORT to a number from 1 to 65535")


def wait_until(condition: Callable[[], Any], timeout: float) -> bool:
    """Poll `condition` until it is true (True) or `timeout` seconds have passed (False)."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the process's exit code."""
    parser = argparse.ArgumentParser(prog="airflow_server", description=__doc__)
    setting = os.environ.get
    parser.add_argument("--home", type=Path, default=ROOT / ".airflow", help="AIRFLOW_HOME")
    parser.add_argument(
        "--port",
        type=_port,
        default=setting("AIRFLOW_PORT", "8080"),
        help="port on 127.0.0.1 (AIRFLOW_PORT, default 8080)",
    )
    parser.add_argument(
        "--aws-endpoint",
        default=f"http://127.0.0.1:{setting('LOCALAWS_PORT', '4566')}",
        help="the embedded AWS (default: LOCALAWS_PORT on loopback)",
    )
    parser.add_argument("--dags-folder", type=Path, default=ROOT / "dags")
    parser.add_argument(
        "--scheduled",
        action="store_true",
        default=setting("SCHEDULE") == "1",
        help="start DAGs by their schedules too (SCHEDULE=1)",
    )
    parser.add_argument("command", choices=["start", "stop", "status", "supervise"])
    try:
        given = parser.parse_args(argv)
        server = Server(
            given.home.resolve(), given.port, given.aws_endpoint, given.dags_folder, given.scheduled
        )
        return getattr(server, given.command)()
    except (Trouble, OSError) as trouble:
        print(f"airflow: {trouble}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"airflow: {Path(error.cmd[0]).name}: {error.stderr.strip()}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
