"""Fixtures every test may use: a real embedded AWS, started as a user starts it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import boto3
import pytest
from botocore.config import Config as ClientConfig
from clickstream.config import Config
from xdist.scheduler import LoadScopeScheduling

from scripts import provision, terraform

ROOT = Path(__file__).resolve().parents[1]
LOCALAWS_PYTHON = ROOT / ".venv-localaws" / "bin" / "python"


class _ByFolder(LoadScopeScheduling):
    """A folder's tests share what is dear to start, so one worker runs them all.

    xdist's own groups (`loadgroup`) are names that it adds to a test's id; pytest 9.2 ignores them.
    """

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0].split("/")[1]


#: What takes longest starts first, so that no worker ends alone with it.
LONGEST = ("e2e", "glue", "terraform", "localaws", "sql")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order in which folders are shared out; within one, tests stay as they stand."""

    def rank(item: pytest.Item) -> int:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        return LONGEST.index(folder) if folder in LONGEST else len(LONGEST)

    items.sort(key=rank)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _ByFolder:
    """How `make test` shares the tests between its two workers."""
    return _ByFolder(config, log)


class EmbeddedAws:
    """One embedded AWS with its own state folder and port; runs within its ``with`` block."""

    region = "us-east-1"

    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.command("start")
        return self

    def __exit__(self, *_: object) -> None:
        self.command("stop")

    def command(self, name: str) -> str:
        """Run one ``python -m localaws`` command to its end; returns what it printed."""
        done = subprocess.run(
            [
                LOCALAWS_PYTHON,
                "-m",
                "localaws",
                "--home",
                self.home,
                "--port",
                str(self.port),
                name,
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def kill(self) -> None:
        """End the process as a crash would."""
        os.kill(int((self.home / "lock").read_text()), signal.SIGKILL)

    def client(self, service: str, principal: str = "test") -> Any:
        """A boto3 client that reaches this embedded AWS, as `principal` in its trail."""
        return boto3.client(
            service,
            region_name=self.region,
            endpoint_url=self.endpoint,
            aws_access_key_id=principal,
            aws_secret_access_key="test",
            config=ClientConfig(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    """An embedded AWS that the whole test run shares; use names of your own in it."""
    with EmbeddedAws(tmp_path_factory.mktemp("localaws")) as embedded:
        yield embedded


@pytest.fixture(scope="session")
def deployed(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[EmbeddedAws, terraform.Terraform]]:
    """An embedded AWS in which Terraform has made everything; a test changes nothing in it."""
    if not terraform.is_usable():
        pytest.skip("needs Terraform 1.11 or newer, and its provider in TF_PLUGIN_DIR")
    with EmbeddedAws(tmp_path_factory.mktemp("deployed")) as embedded:
        names = Config.from_environment({})
        yield embedded, provision.apply(embedded.home, embedded.endpoint, names)


@pytest.fixture
def bucket(aws: EmbeddedAws) -> str:
    """A new, empty bucket."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    aws.client("s3").create_bucket(Bucket=name)
    return name
