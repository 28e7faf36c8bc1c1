"""One run of a Glue job: the real script, in a process of its own, with the real arguments."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore.exceptions

from localaws import spark
from localaws.logs import LogStream, encrypt_logs
from localaws.objects import split_uri
from localaws.service import Context
from localaws.trail import acting_as

log = logging.getLogger("localaws")

LOG_GROUP = "/aws-glue/jobs"
GLUE_VERSIONS = ("5.0", "5.1")
_COMMANDS = ("glueetl", "pythonshell")
_REFUSED = {
    "--additional-python-modules": "add the package to requirements/local.in instead",
    "--extra-jars": "no jar is downloaded here",
}
_POLL_SECONDS = 0.25
_CHUNK_BYTES = 1 << 20
_ERROR_TAIL_BYTES = 64 << 10
_PR_SET_PDEATHSIG = 1
# Loaded here: between fork and exec nothing may be imported.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_TRACEBACK = "Traceback (most recent call last):\n"
_SPARK_LOG = re.compile(r"\d\d/\d\d/\d\d \d\d:\d\d:\d\d ")


class LaunchError(Exception):
    """Why a run's process could not be started."""


class _Output:
    """A file that the script writes, and the log stream that follows it."""

    def __init__(self, path: Path, log_stream: LogStream) -> None:
        self.path, self._log = path, log_stream
        self._read, self._rest = 0, b""

    def ship(self, is_complete: bool = False) -> None:
        """Send the lines that are new; the last one too when the file is complete."""
        with self.path.open("rb") as file:
            file.seek(self._read)
            while chunk := file.read(_CHUNK_BYTES):
                *lines, self._rest = (self._rest + chunk).split(b"\n")
                self._log.write(line.decode(errors="replace") for line in lines)
            self._read = file.tell()
        if is_complete and self._rest:
            self._log.write([self._rest.decode(errors="replace")])

    def tail(self) -> str:
        """The end of the file."""
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - _ERROR_TAIL_BYTES))
            return file.read().decode(errors="replace")


def log_group(arguments: dict[str, str]) -> str:
    """The start of the names of a run's two log groups."""
    return arguments.get("--custom-logGroup-prefix") or LOG_GROUP


class Run:
    """One attempt of a run, from the download of its script to its last log line.

    Args:
        context: the embedded AWS.
        job: the job as it is now (a later UpdateJob does not reach this run).
        run: the JobRun record.
        arguments: what the script is given: the job's defaults under the run's own.
        started: called when the script's process runs.
        ended: called at the end with the state and the error message; not after `abandon`.
    """

    def __init__(
        self,
        context: Context,
        job: dict[str, Any],
        run: dict[str, Any],
        arguments: dict[str, str],
        started: Callable[[], None],
        ended: Callable[[str, str], None],
    ) -> None:
        self._context, self._job, self._run, self._arguments = context, job, run, arguments
        self._started, self._ended = started, ended
        self._id = run["Id"]
        self._work = work_folder(context) / self._id
        self._stopped = threading.Event()
        self._abandoned = False
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Run on a thread of its own."""
        # The script's process dies with the thread that made it (see _die_with_parent).
        threading.Thread(target=self._main, name=f"glue-{self._id[:12]}", daemon=True).start()

    def stop(self) -> None:
        """Kill the run; it becomes STOPPED."""
        self._stopped.set()

    def abandon(self) -> None:
        """Kill the run at once and record nothing: the embedded AWS is ending."""
        self._abandoned = True
        if self._process:
            _kill(self._process)

    def _main(self) -> None:
        try:
            with acting_as(self._job["Role"]):
                started = time.monotonic()
                state, message = self._execute()
                self._measure(time.monotonic() - started)
        except LaunchError as error:
            state, message = "FAILED", f"LAUNCH ERROR | {error}"
        except Exception as error:
            if not self._abandoned:
                log.exception("Glue run %s", self._id)
            state, message = "FAILED", f"{type(error).__name__}: {error}"
        finally:
            shutil.rmtree(self._work, ignore_errors=True)
        if not self._abandoned:
            self._ended(state, message)

    def _execute(self) -> tuple[str, str]:
        groups = {kind: f"{log_group(self._arguments)}/{kind}" for kind in ("output", "error")}
        outputs = [
            _Output(self._work / kind, LogStream(self._context, group, self._id))
            for kind, group in groups.items()
        ]
        try:
            encrypt_logs(self._context, self._job.get("SecurityConfiguration"), groups.values())
        except ValueError as error:
            raise LaunchError(str(error)) from None
        overlay = spark.Overlay(self._context, self._work / "s3")
        command, environment = self._prepare(overlay)
        with outputs[0].path.open("wb") as stdout, outputs[1].path.open("wb") as stderr:
            self._process = subprocess.Popen(
                command,
                cwd=self._work / "job",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        try:
            self._started()
            state = self._supervise(self._process, outputs)
        finally:
            _kill(self._process)
        if self._abandoned:
            return "FAILED", ""
        for output in outputs:
            output.ship(is_complete=True)
        overlay.apply()
        if state == "FAILED":
            return state, error_message(outputs[1].tail(), self._process.returncode)
        if state == "TIMEOUT":
            return state, f"Job run timed out after {self._run['Timeout']} minutes"
        return state, ""

    def _measure(self, seconds: float) -> None:
        """The one of Glue's metrics that is known here, when the job asks for metrics."""
        if "--enable-metrics" not in self._arguments:
            return
        self._context.client("cloudwatch").put_metric_data(
            Namespace="Glue",
            MetricData=[
                {
                    "MetricName": "glue.driver.aggregate.elapsedTime",
                    "Dimensions": [
                        {"Name": "JobName", "Value": self._job["Name"]},
                        {"Name": "JobRunId", "Value": run},
                        {"Name": "Type", "Value": "count"},
                    ],
                    "Value": 1000 * seconds,
                }
                for run in (self._id, "ALL")
            ],
        )

    def _supervise(self, process: subprocess.Popen[bytes], outputs: list[_Output]) -> str:
        """Follow the script to its end, or to why it must end; returns the run's state."""
        deadline = time.monotonic() + (self._run["Timeout"] * 60 or float("inf"))
        while not self._abandoned:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return "FAILED" if process.wait(_POLL_SECONDS) else "SUCCEEDED"
            if self._stopped.is_set():
                return "STOPPED"
            if time.monotonic() > deadline:
                return "TIMEOUT"
            for output in outputs:
                output.ship()
        return "FAILED"

    def _prepare(self, overlay: spark.Overlay) -> tuple[list[str], dict[str, str]]:
        """The command line and the environment; everything they name lies in the work folder."""
        kind = self._job["Command"].get("Name", "glueetl")
        if kind not in _COMMANDS:
            raise LaunchError(f"a job of kind {kind} does not run here ({', '.join(_COMMANDS)} do)")
        version = self._job["GlueVersion"]
        if kind == "glueetl" and version not in GLUE_VERSIONS:
            raise LaunchError(
                f"Glue {version} does not run here; set GlueVersion to {GLUE_VERSIONS[-1]}"
            )
        for name, remedy in _REFUSED.items():
            if self._arguments.get(name):
                raise LaunchError(f"{name} is not supported here: {remedy}")
        script = self._download(self._job["Command"]["ScriptLocation"])
        for uri in _listed(self._arguments.get("--extra-files", "")):
            self._download(uri)
        packages = [self._download(u) for u in _listed(self._arguments.get("--extra-py-files", ""))]
        overlay.mount()
        settings = overlay.settings() | _settings(self._arguments.get("--conf", ""))
        try:
            environment = spark.environment(self._context, self._work, settings)
        except RuntimeError as error:
            raise LaunchError(str(error)) from None
        environment["PYTHONPATH"] = os.pathsep.join(map(str, packages))
        name = self._job["Name"]
        arguments = {
            "--JOB_NAME": name,
            "--JOB_RUN_ID": self._id,
            "--JOB_ID": f"j_{hashlib.sha256(name.encode()).hexdigest()}",
            **self._arguments,
        }
        flat = [text for pair in arguments.items() for text in pair]
        return [sys.executable, str(script), *flat], environment

    def _download(self, uri: str) -> Path:
        try:
            bucket, key = split_uri(uri)
        except ValueError as error:
            raise LaunchError(str(error)) from None
        target = self._work / "job" / key.rpartition("/")[2]
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            answer = self._context.client("s3").get_object(Bucket=bucket, Key=key)
        except botocore.exceptions.ClientError as error:
            raise LaunchError(
                f"Error downloading from S3 for bucket: {bucket}, key: {key}: "
                f"{error.response['Error']['Message']}"
            ) from None
        with target.open("wb") as file:
            shutil.copyfileobj(answer["Body"], file)
        return target


def work_folder(context: Context) -> Path:
    """Where the runs' own folders lie while they run (on the file system of the buckets)."""
    return context.home / "glue-runs"


def error_message(stderr: str, code: int) -> str:
    """What a failed script died of, as Glue words it.

    Args:
        stderr: the end of what it wrote there.
        code: its exit code; negative for the signal that killed it.
    """
    if "java.lang.OutOfMemoryError" in stderr:
        return (
            "Command Failed due to Out of Memory: java.lang.OutOfMemoryError; give Spark more "
            "by LOCALAWS_SPARK_MEMORY (default 3g)"
        )
    if code < 0:
        name = signal.Signals(-code).name
        return f"Command failed with exit code {128 - code} ({name}; SIGKILL is mostly memory)"
    # An uncaught exception ends Python with 1; with another code the traceback was only logged.
    if code == 1 and _TRACEBACK in stderr:
        lines = stderr.rpartition(_TRACEBACK)[2].splitlines()
        start = next((i for i, line in enumerate(lines) if not line.startswith(" ")), None)
        if start is not None:
            name, colon, text = lines[start].partition(":")
            # Py4J puts the Java exception on the line below.
            cause = "".join(f" {line}" for line in lines[start + 1 : start + 2] if line[:2] == ": ")
            return f"{name.rpartition('.')[2]}{colon}{text}{cause}"
    said = [line for line in stderr.splitlines() if line and not _SPARK_LOG.match(line)]
    return f"SystemExit: {code}" + (f" ({said[-1].strip()})" if said else "")


def _listed(value: str) -> list[str]:
    return [item.strip() for item in value.split(",") if item.strip()]


def _settings(conf: str) -> dict[str, str]:
    """Glue's ``--conf``: one setting, or several joined by `` --conf ``."""
    settings = {}
    for setting in filter(None, re.split(r"\s*--conf\s+", conf.strip())):
        name, equals, value = setting.partition("=")
        if not equals:
            raise LaunchError(f"--conf {setting!r} is not name=value")
        settings[name.strip()] = value.strip()
    return settings


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the script and its Java; Python workers end when their Java does."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _die_with_parent() -> None:
    if _LIBC:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
