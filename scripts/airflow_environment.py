"""The local Airflow's settings: one environment for `make up`, the demo and the tests.

``python -m scripts.airflow_environment dags list`` runs Airflow's own command line in it.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
from pathlib import Path

from scripts.postgres import Postgres

ROOT = Path(__file__).resolve().parents[1]
# Not installed in this environment: Airflow finds it by PYTHONPATH.
sys.path.append(str(ROOT / "plugins"))
from clickstream.config import Config  # noqa: E402

REGION = "us-east-1"

# A person's own Airflow, AWS profile or Python path must not leak into this one.
_FOREIGN_PREFIXES = ("AIRFLOW", "AWS_", "PYTHONPATH", "PYTHONHOME")
# The pipeline's settings where nothing takes minutes; the shell or .env may say otherwise.
_LAPTOP = {
    "CLICKSTREAM_POLL_SECONDS": "1",
    "CLICKSTREAM_RETRY_SECONDS": "5",
    "CLICKSTREAM_DELIVERY_DELAY_SECONDS": "0",
    "CLICKSTREAM_REPORT_FOLDER": str(ROOT / "build" / "quality"),
}


def airflow_environment(
    home: Path = ROOT / ".airflow",
    *,
    port: int = 8080,
    aws_endpoint: str = "http://127.0.0.1:4566",
    dags_folder: Path = ROOT / "dags",
    is_scheduled: bool = False,
) -> dict[str, str]:
    """The whole environment for any ``airflow`` command of this checkout.

    Args:
        home: the folder that holds all of Airflow's state (AIRFLOW_HOME).
        port: the API server's and UI's port on 127.0.0.1.
        aws_endpoint: the embedded AWS; nothing in this environment can reach the real one.
        dags_folder: where the DAG files lie.
        is_scheduled: whether DAGs also start by their schedules and assets; when false, they
            start only when a person, the API or a backfill asks.
    """
    home = home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    address = f"http://127.0.0.1:{port}"
    loopback = "127.0.0.1,localhost"
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN_PREFIXES)
    }
    settings = {
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__DAGS_FOLDER": str(dags_folder.resolve()),
        "CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": "4",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        # The audit log is not to name whom somebody erased.
        "CORE__SENSITIVE_VAR_CONN_NAMES": "user_id",
        "CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
        # No login: the server listens on loopback only.
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "DATABASE__SQL_ALCHEMY_CONN": Postgres(home / "pg").url,
        "SCHEDULER__USE_JOB_SCHEDULE": str(is_scheduled),
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
        # The tasks of a killed worker or scheduler are retried after a minute, not after five.
        "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "30",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        "API__HOST": "127.0.0.1",
        "API__PORT": str(port),
        "API__BASE_URL": address,
        "API__WORKERS": "1",
        "API__INSTANCE_NAME": "Clickstream (local)",
        "LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        **_secrets(home / "secrets.json"),
    }
    # The embedded AWS takes any key; its access trail shows it as who called.
    role = Config.from_environment({**_LAPTOP, **inherited}).roles.airflow
    connection = {
        "conn_type": "aws",
        "login": role,
        "password": "local",
        "extra": {"region_name": REGION, "endpoint_url": aws_endpoint},
    }
    return {
        **_LAPTOP,
        **inherited,
        **{f"AIRFLOW__{name}": value for name, value in settings.items()},
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(connection),
        "PYTHONPATH": str(ROOT / "plugins"),
        "AWS_ENDPOINT_URL": aws_endpoint,
        "AWS_ACCESS_KEY_ID": role,
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        # Tasks reach the API server and the embedded AWS directly, whatever proxy is set.
        "NO_PROXY": loopback,
        "no_proxy": loopback,
        # macOS ends a forked process that touches the Objective-C runtime.
        "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",
    }


def _secrets(path: Path) -> dict[str, str]:
    """This checkout's own keys, made once and readable by their owner only."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return json.loads(path.read_text())
    keys = {
        "CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "API__SECRET_KEY": secrets.token_hex(32),
        "API_AUTH__JWT_SECRET": secrets.token_hex(32),
    }
    with os.fdopen(file, "w") as out:
        json.dump(keys, out)
    return keys


def main() -> None:
    """Become the ``airflow`` command of this checkout."""
    environment = airflow_environment(
        port=int(os.environ.get("AIRFLOW_PORT", "8080")),
        aws_endpoint=f"http://127.0.0.1:{os.environ.get('LOCALAWS_PORT', '4566')}",
        is_scheduled=os.environ.get("SCHEDULE") == "1",
    )
    command = [sys.executable, "-m", "airflow", *sys.argv[1:]]
    os.execve(sys.executable, command, environment)


if __name__ == "__main__":
    main()
