"""Records that could not be delivered, kept on disk until a later run sends them.

A spool is a folder of segments, each a run of frames: length, CRC-32, then the key's length, the
key and the data. Segments are only ever appended to, synced before a record counts as kept, and
deleted when all their records have been delivered.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

SEGMENT_BYTES = 4 * 2**20
#: Side file for records that no stream takes; never drained.
OVERSIZE_FILE = "oversize.jsonl"
_FRAME, _KEY = struct.Struct("<II"), struct.Struct("<H")


class Trouble(Exception):
    """One sentence for the user."""


class Record(NamedTuple):
    """What a stream takes."""

    key: str
    data: bytes


#: What a frame adds to its record's key and data.
OVERHEAD_BYTES = _FRAME.size + _KEY.size


class Spool:
    """One folder, held by one process at a time. Appending is safe from several threads."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._lock = threading.Lock()
        self._segment: BinaryIO | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._holder = (folder / "lock").open("a")
        except OSError as error:
            raise Trouble(f"the spool {folder} cannot be used: {error.strerror}") from None
        try:
            fcntl.flock(self._holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Trouble(
                f"another producer uses the spool {folder}; wait for it or give this one "
                "its own with --spool"
            ) from None
        segments = self.segments()
        self._next = int(segments[-1].stem) + 1 if segments else 1
        self.size = sum(segment.stat().st_size for segment in segments)

    def segments(self) -> list[Path]:
        """The segments on disk, oldest first."""
        return sorted(self.folder.glob("*.spool"))

    def seal(self) -> None:
        """End the segment that is being written: from now on a new one is."""
        with self._lock:
            self._close_segment()

    def append(self, records: Sequence[Record]) -> None:
        """Keep the records; they are on the disk when this returns."""
        frames = b"".join(map(_frame, records))
        with self._lock:
            try:
                if self._segment is None:
                    self._segment = (self.folder / f"{self._next:08d}.spool").open("xb")
                    self._next += 1
                    _sync_folder(self.folder)
                self._segment.write(frames)
                self._segment.flush()
                os.fsync(self._segment.fileno())
            except OSError:
                # What this segment holds now is uncertain: never write behind it.
                self._segment = None
                raise
            self.size += len(frames)
            if self._segment.tell() >= SEGMENT_BYTES:
                self._close_segment()

    def read(self, segment: Path) -> list[Record]:
        """The segment's whole records; a torn or damaged rest is left out."""
        content, position, records = segment.read_bytes(), 0, []
        while position + _FRAME.size <= len(content):
            length, checksum = _FRAME.unpack_from(content, position)
            body = content[position + _FRAME.size : position + _FRAME.size + length]
            if len(body) < length or zlib.crc32(body) != checksum:
                break
            (key_length,) = _KEY.unpack_from(body)
            data_at = _KEY.size + key_length
            records.append(Record(body[_KEY.size : data_at].decode(), body[data_at:]))
            position += _FRAME.size + length
        if position < len(content):
            # Not a record that was ever promised, unless the disk failed: keep it for a person.
            segment.with_suffix(".damaged").write_bytes(content[position:])
        return records

    def remove(self, segment: Path) -> None:
        """Forget a segment whose records are delivered (or appended anew)."""
        with self._lock:
            self.size -= segment.stat().st_size
            segment.unlink()
            _sync_folder(self.folder)

    def set_aside(self, record: Record) -> None:
        """Keep a record that no stream takes in the side file."""
        with self._lock, (self.folder / OVERSIZE_FILE).open("ab") as file:
            file.write(record.data)
            file.flush()
            os.fsync(file.fileno())

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        """Let another process have the folder."""
        self.seal()
        self._holder.close()

    def _close_segment(self) -> None:
        if self._segment is not None:
            self._segment.close()
            self._segment = None


def _frame(record: Record) -> bytes:
    key = record.key.encode()
    body = _KEY.pack(len(key)) + key + record.data
    return _FRAME.pack(len(body), zlib.crc32(body)) + body


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
