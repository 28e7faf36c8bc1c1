"""Small durable records: what a restart, or a kill, of the embedded AWS must not lose."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

_LAST = "\U0010ffff"


class State:
    """One SQLite file; `table(name)` is a durable dict of JSON records in insertion order."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        # A killed process loses nothing; only a power cut could lose the last moments.
        self._db.execute("PRAGMA synchronous=OFF")
        self._lock = threading.RLock()

    def table(self, name: str) -> Table:
        """The table of that name (made on first use)."""
        with self._lock:
            self._db.execute(
                f'CREATE TABLE IF NOT EXISTS "{name}" (seq INTEGER PRIMARY KEY AUTOINCREMENT, '
                "key TEXT UNIQUE NOT NULL, body BLOB NOT NULL)"
            )
        return Table(self._db, self._lock, name)

    def close(self) -> None:
        """Flush and close the file."""
        with self._lock:
            self._db.close()


class Table:
    """A durable dict: text keys, JSON records (datetimes are kept as ISO text)."""

    def __init__(self, db: sqlite3.Connection, lock: threading.RLock, name: str) -> None:
        self._db, self._lock, self._name = db, lock, name

    def __setitem__(self, key: str, record: dict[str, Any]) -> None:
        with self._lock:
            self._db.execute(
                f'INSERT INTO "{self._name}" (key, body) VALUES (?, ?) '
                "ON CONFLICT (key) DO UPDATE SET body = excluded.body",
                (key, orjson.dumps(record)),
            )

    def get(self, key: str) -> dict[str, Any] | None:
        """The record, or None."""
        with self._lock:
            row = self._db.execute(
                f'SELECT body FROM "{self._name}" WHERE key = ?', (key,)
            ).fetchone()
        return orjson.loads(row[0]) if row else None

    def pop(self, key: str) -> dict[str, Any] | None:
        """Remove and return the record, or None."""
        with self._lock:
            record = self.get(key)
            self._db.execute(f'DELETE FROM "{self._name}" WHERE key = ?', (key,))
        return record

    def values(self, prefix: str = "") -> list[dict[str, Any]]:
        """The records whose key starts with `prefix`, oldest key first."""
        with self._lock:
            rows = self._db.execute(
                f'SELECT body FROM "{self._name}" WHERE key >= ? AND key < ? ORDER BY seq',
                (prefix, prefix + _LAST),
            ).fetchall()
        return [orjson.loads(row[0]) for row in rows]

    def clear(self, prefix: str) -> None:
        """Remove the records whose key starts with `prefix`."""
        with self._lock:
            self._db.execute(
                f'DELETE FROM "{self._name}" WHERE key >= ? AND key < ?', (prefix, prefix + _LAST)
            )

    def keys(self) -> list[str]:
        """All keys, oldest first."""
        with self._lock:
            rows = self._db.execute(f'SELECT key FROM "{self._name}" ORDER BY seq').fetchall()
        return [row[0] for row in rows]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def __len__(self) -> int:
        with self._lock:
            return self._db.execute(f'SELECT count(*) FROM "{self._name}"').fetchone()[0]
