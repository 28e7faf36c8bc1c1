"""What the jobs' command lines have in common: kinds of arguments, and errors in one sentence."""

from __future__ import annotations

import argparse
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """Reads a run's name and what a job adds; says what is wrong in one sentence."""

    def __init__(self, name: str, description: str | None) -> None:
        """See the class; `name` is the script's."""
        super().__init__(prog=name, description=description, allow_abbrev=False)
        self.add_argument("--JOB_RUN_ID", dest="run_id", default=f"jr_{uuid.uuid4().hex}")

    def add_lake(self) -> None:
        """The lake, and the name under which the job writes down what it did there."""
        self.add_argument("--lake-path", type=folder, required=True)
        self.add_argument("--JOB_NAME", dest="job_name", default=self.prog)

    def add_interval(self) -> None:
        """The arrival hours that a run is about."""
        self.add_argument("--interval-start", type=hour, required=True, help="first arrival hour")
        self.add_argument("--interval-end", type=hour, required=True, help="hour after the last")

    def read(self, arguments: Sequence[str]) -> dict[str, Any]:
        """The arguments by name; Glue adds some of its own, which are left alone."""
        found = vars(self.parse_known_args(arguments)[0])
        if "interval_start" in found and found["interval_start"] >= found["interval_end"]:
            self.error("--interval-start must lie before --interval-end")
        return found

    def error(self, message: str) -> NoReturn:
        """Ends the process with exit code 2."""
        self.exit(2, f"{self.prog}: {message}\n")


def hour(text: str) -> datetime:
    """Reads a whole UTC hour such as 2026-11-20T13:00:00Z; no offset means UTC."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no ISO 8601 time, write e.g. 2026-11-20T13:00:00Z"
        ) from None
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    if (time.minute, time.second, time.microsecond) != (0, 0, 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole hour, raw data lies in hours")
    return time


def folder(text: str) -> str:
    """Reads a URI or path of a folder."""
    if not text.strip("/"):
        raise argparse.ArgumentTypeError("a folder is needed, e.g. s3://bucket/prefix/")
    return text.rstrip("/") + "/"


def positive(text: str) -> int:
    """Reads a whole number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)
