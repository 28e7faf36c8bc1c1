"""The DAG files as Airflow's own parser reads them, with nothing to talk to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def in_airflow(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Runs Python code in a fresh process with Airflow's settings; returns what it printed.

    Airflow reads its settings once, on import: a test that wants others needs another process.
    """
    home = tmp_path_factory.mktemp("airflow")

    def run(code: str, **settings: str) -> str:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AIRFLOW", "AWS_", "CLICKSTREAM_"))
        }
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={
                **inherited,
                "AIRFLOW_HOME": str(home),
                "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
                "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
                "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
                "PYTHONPATH": str(ROOT / "plugins"),
                **settings,
            },
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run
