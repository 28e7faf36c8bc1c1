"""``python -m localaws``: start, stop and look at the embedded AWS."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from localaws import server
from localaws.service import Context
from localaws.trail import acting_as

START_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 15
#: Who provisions, in the access trail.
OPERATOR = "operator"
LOOPBACK, EVERY_INTERFACE = "127.0.0.1", "0.0.0.0"


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the process's exit code."""
    parser = argparse.ArgumentParser(prog="localaws", description=__doc__)
    parser.add_argument(
        "--home",
        type=Path,
        default=Path(os.environ.get("LOCALAWS_HOME", ".localaws")),
        help="folder of the state (LOCALAWS_HOME, default .localaws)",
    )
    # Loopback unless told otherwise: whoever reaches the embedded AWS may do anything in it.
    parser.add_argument(
        "--host",
        type=_host,
        default=os.environ.get("LOCALAWS_HOST") or LOOPBACK,
        help=f"address it listens on and is asked at (LOCALAWS_HOST, default {LOOPBACK})",
    )
    parser.add_argument(
        "--port",
        type=_port,
        default=os.environ.get("LOCALAWS_PORT", "4566"),
        help="its port (LOCALAWS_PORT, default 4566)",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, action, text in (
        ("start", start, "start in the background (does nothing when it runs)"),
        ("stop", stop, "stop it, and nothing else"),
        ("status", status, "say whether it runs; exit code 1 when it does not"),
        ("run", run, "run in the foreground"),
        ("provision", provision, "create the pipeline's buckets, streams, jobs and tables"),
        ("trail", trail, "list who has used which permission on what, and how often"),
        ("reset", reset, "stop it and delete all its state"),
    ):
        commands.add_parser(name, help=text, description=text).set_defaults(action=action)
    try:
        arguments = parser.parse_args(argv)
        arguments.home = arguments.home.resolve()
        return arguments.action(arguments.home, arguments.host, arguments.port)
    except Trouble as trouble:
        print(f"localaws: {trouble}", file=sys.stderr)
        return 1


class Trouble(Exception):
    """One sentence for the user."""


def endpoint(host: str, port: int) -> str:
    """The address the embedded AWS answers on."""
    return f"http://{LOOPBACK if host == EVERY_INTERFACE else host}:{port}"


def start(home: Path, host: str, port: int) -> int:
    """Start a background process and wait until it is ready."""
    home.mkdir(parents=True, exist_ok=True)
    if (pid := _running(home)) is not None:
        if not server.wait_until(lambda: server.is_ready(endpoint(host, port)), timeout=10):
            raise Trouble(
                f"it runs as process {pid}, but not on port {port}; stop it first (make down)"
            )
        print(f"localaws: already running on {endpoint(host, port)} (process {pid})")
        return 0
    _require_free(host, port)
    log = home / "localaws.log"
    options = ["--host", host, "--port", str(port)]
    with log.open("ab") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "localaws", "--home", str(home), *options, "run"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    ready = server.wait_until(
        lambda: server.is_ready(endpoint(host, port)) or child.poll() is not None,
        START_TIMEOUT_SECONDS,
    )
    if not ready or child.poll() is not None:
        child.kill()
        raise Trouble(f"it did not start; the last lines of {log} say why")
    print(f"localaws: running on {endpoint(host, port)} (process {child.pid}), state in {home}")
    return 0


def stop(home: Path, host: str, port: int) -> int:
    """Stop the process that holds this home's lock, if there is one."""
    pid = _running(home)
    if pid is None:
        print("localaws: not running")
        return 0
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        if server.wait_until(lambda: _running(home) is None, STOP_TIMEOUT_SECONDS):
            print(f"localaws: stopped (process {pid})")
            return 0
    raise Trouble(f"process {pid} does not end")


def status(home: Path, host: str, port: int) -> int:
    """Print whether it runs."""
    pid = _running(home)
    if pid is None or not server.is_ready(endpoint(host, port)):
        print(
            "localaws: not running"
            if pid is None
            else f"localaws: process {pid} is not ready on port {port}"
        )
        return 1
    print(f"localaws: running on {endpoint(host, port)} (process {pid})")
    return 0


def run(home: Path, host: str, port: int) -> int:
    """Serve in the foreground until a signal."""
    _require_free(host, port)
    with _lock(home):
        from localaws.services import all_services

        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        context = Context(home, endpoint(host, port), region=region)
        server.serve(context, all_services(context), host)
    return 0


def provision(home: Path, host: str, port: int) -> int:
    """Create the pipeline's resources (those that exist are left as they are)."""
    if not server.is_ready(endpoint(host, port)):
        raise Trouble(f"nothing answers on {endpoint(host, port)}; start it first (make aws)")
    from localaws import resources

    try:
        with acting_as(OPERATOR):
            resources.provision(Context(home, endpoint(host, port)))
    except resources.ProvisionError as error:
        raise Trouble(str(error)) from None
    return 0


def trail(home: Path, host: str, port: int) -> int:
    """Print the access trail as a table."""
    calls = server.read_trail(endpoint(host, port))
    if calls is None:
        raise Trouble(f"nothing answers on {endpoint(host, port)}; start it first (make aws)")
    rows = [("principal", "action", "resource", "count")]
    rows += [(c["principal"], c["action"], c["resource"], str(c["count"])) for c in calls]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())
    return 0


def reset(home: Path, host: str, port: int) -> int:
    """Stop and delete the state."""
    stop(home, host, port)
    shutil.rmtree(home, ignore_errors=True)
    print(f"localaws: {home} deleted")
    return 0


def _host(text: str) -> str:
    if re.fullmatch(r"[\w.-]+", text, re.ASCII):
        return text
    raise Trouble(f"{text!r} is not a host; set LOCALAWS_HOST to a name or an IPv4 address")


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 65535:
        return int(text)
    raise Trouble(f"{text!r} is not a port; set LOCALAWS_PORT to a number from 1 to 65535")


def _require_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Trouble(
                f"port {port} cannot be used ({error.strerror}); "
                "stop the program that holds it or set LOCALAWS_PORT to another"
            ) from None


# The lock, not the number in the file, says whether it runs: a crash releases it, and a number
# that another program got since is never signalled.
@contextlib.contextmanager
def _lock(home: Path) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Trouble(f"another process uses {home}") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _running(home: Path) -> int | None:
    path = home / "lock"
    if not path.exists():
        return None
    with path.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(file.read() or 0) or None
    return None


if __name__ == "__main__":
    sys.exit(main())
