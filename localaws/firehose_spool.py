"""Buffers on disk: what a delivery stream has acknowledged and not delivered yet.

A spool is a folder of segments; a segment becomes one object. It is a file of frames, one for each
batch: a header (count, bytes, arrival), the records' lengths, the records. A frame is written whole
before its batch is acknowledged, so a killed process loses nothing; there is no fsync, so a power
cut may take the last seconds.
"""

from __future__ import annotations

import os
import struct
import threading
import uuid
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_HEADER = struct.Struct("<IId")
_LENGTH_BYTES = array("I").itemsize


@dataclass
class Segment:
    """The records of one future object.

    Attributes:
        opened_at: when its oldest record arrived, in epoch seconds.
        id: also names the object, so that a repeated delivery replaces it instead of adding one.
        records, size: how many it holds, and their bytes.
        length: the file's length up to the end of its last whole frame.
    """

    path: Path
    opened_at: float
    id: str
    records: int = 0
    size: int = 0
    length: int = 0
    file: int | None = field(default=None, repr=False)

    @classmethod
    def new(cls, folder: Path, opened_at: float) -> Segment:
        """An empty segment; its file's name sorts by age."""
        id = str(uuid.uuid4())
        return cls(folder / f"{opened_at:017.6f}_{id}.segment", opened_at, id)

    @classmethod
    def recovered(cls, path: Path) -> Segment:
        """The segment a previous process left, without the frame it was killed in."""
        opened_at, _, id = path.stem.partition("_")
        segment = cls(path, float(opened_at), id)
        available = path.stat().st_size
        with path.open("rb") as file:
            while header := file.read(_HEADER.size):
                if len(header) < _HEADER.size:
                    break
                count, payload, _ = _HEADER.unpack(header)
                end = file.tell() + count * _LENGTH_BYTES + payload
                if end > available:
                    break
                segment.records += count
                segment.size += payload
                segment.length = file.seek(end)
        os.truncate(path, segment.length)
        return segment

    def append(self, records: Sequence[bytes], arrived: float) -> None:
        """Write one frame; on an error the segment is as it was before."""
        if self.file is None:
            self.file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        lengths = array("I", map(len, records))
        payload = sum(lengths)
        frame = memoryview(
            b"".join((_HEADER.pack(len(records), payload, arrived), lengths.tobytes(), *records))
        )
        written = 0
        try:
            while written < len(frame):
                written += os.write(self.file, frame[written:])
        except OSError:
            os.ftruncate(self.file, self.length)
            raise
        self.records += len(records)
        self.size += payload
        self.length += len(frame)

    def close(self) -> None:
        """No more frames will come (or not soon)."""
        if self.file is not None:
            os.close(self.file)
            self.file = None

    def batches(self) -> Iterator[tuple[float, list[bytes]]]:
        """Each batch's arrival and records, oldest first."""
        with self.path.open("rb") as file:
            while header := file.read(_HEADER.size):
                count, payload, arrived = _HEADER.unpack(header)
                lengths = array("I", file.read(count * _LENGTH_BYTES))
                data = file.read(payload)
                records, start = [], 0
                for length in lengths:
                    records.append(data[start : start + length])
                    start += length
                yield arrived, records


class Spool:
    """The segments of one stream: the open one, and the sealed ones that wait for delivery."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._sealed: deque[Segment] = deque()
        self._open: Segment | None = None
        #: Guards the spool, and is notified when a segment is sealed.
        self.changed = threading.Condition()
        for path in sorted(folder.glob("*.segment")):
            segment = Segment.recovered(path)
            if segment.records:
                self._sealed.append(segment)
            else:
                path.unlink()
        if self._sealed:  # the newest goes on where the previous process stopped
            self._open = self._sealed.pop()

    def append(self, records: Sequence[bytes], arrived: float, size: int) -> None:
        """Keep a batch; a segment that reaches `size` bytes is sealed.

        Raises:
            OSError: nothing of the batch was kept.
        """
        with self.changed:
            if self._open is None:
                self._open = Segment.new(self._folder, arrived)
            self._open.append(records, arrived)
            if self._open.size >= size:
                self._seal(self._open)

    def take(self, interval: float, now: float) -> Segment | None:
        """The oldest segment that is full or has waited `interval`; it stays until `remove`."""
        with self.changed:
            newest = self._open if not self._sealed else None
            if newest and newest.records and now - newest.opened_at >= interval:
                self._seal(newest)
            return self._sealed[0] if self._sealed else None

    def remove(self, segment: Segment) -> None:
        """The segment is delivered."""
        with self.changed:
            self._sealed.remove(segment)
        segment.path.unlink(missing_ok=True)

    def oldest(self) -> float | None:
        """When the oldest record that is not delivered arrived."""
        with self.changed:
            segment = self._sealed[0] if self._sealed else self._open
            return segment.opened_at if segment and segment.records else None

    def close(self) -> None:
        """Release the open file; what it holds stays."""
        with self.changed:
            if self._open:
                self._open.close()

    def _seal(self, segment: Segment) -> None:
        segment.close()
        self._sealed.append(segment)
        self._open = None
        self.changed.notify_all()
