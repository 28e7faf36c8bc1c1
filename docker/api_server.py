"""``python docker/api_server.py start``: set the administrator's password, become the API server.

``python docker/api_server.py health`` ends with 0 when that server and its database are well.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request

HEALTH = "http://127.0.0.1:8080/api/v2/monitor/health"
PASSWORDS_FILE = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"
SHORTEST_PASSWORD = 12


def start() -> None:
    """Write the file that Airflow reads passwords from; a user without one would get it printed."""
    password = os.environ.pop("AIRFLOW_ADMIN_PASSWORD", "")
    if len(password) < SHORTEST_PASSWORD:
        sys.exit(
            f"AIRFLOW_ADMIN_PASSWORD has {len(password)} characters; "
            f"set one of {SHORTEST_PASSWORD} or more in .env (docs/docker.md)"
        )
    os.umask(0o077)
    with open(os.environ[PASSWORDS_FILE], "w") as file:
        json.dump({"admin": password}, file)
    os.execvp("airflow", ["airflow", "api-server"])


def health() -> None:
    """The server answers 200 without its database too, so the answer is read."""
    try:
        with urllib.request.urlopen(HEALTH, timeout=5) as answer:
            status = json.load(answer)["metadatabase"]["status"]
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"{HEALTH}: {error}")
    if status != "healthy":
        sys.exit(f"the database is {status}")


if __name__ == "__main__":
    commands = {"start": start, "health": health}
    if sys.argv[1:] not in ([name] for name in commands):
        sys.exit(__doc__)
    commands[sys.argv[1]]()
