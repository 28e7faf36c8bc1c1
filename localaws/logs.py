"""Writing to CloudWatch Logs, as AWS's own services do for their runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from localaws.service import Context, now

#: PutLogEvents: 1 MiB and 10,000 events a batch, 256 KiB an event, 26 bytes counted for each.
_BATCH_BYTES, _BATCH_EVENTS, _EVENT_BYTES, _OVERHEAD = 1 << 20, 10_000, 256 << 10, 26


class LogStream:
    """One stream of a log group; both are created when they are missing."""

    def __init__(self, context: Context, group: str, stream: str) -> None:
        self._context = context
        self._names = {"logGroupName": group, "logStreamName": stream}
        client = context.client("logs")
        with contextlib.suppress(client.exceptions.ResourceAlreadyExistsException):
            try:
                client.create_log_stream(**self._names)
            except client.exceptions.ResourceNotFoundException:
                client.create_log_group(logGroupName=group)
                client.create_log_stream(**self._names)

    def write(self, lines: Iterable[str]) -> None:
        """Send the lines, stamped with the current time; a longer line than AWS takes is cut."""
        client, stamp = self._context.client("logs"), int(now().timestamp() * 1000)
        batch: list[dict[str, object]] = []
        size = 0
        for line in lines:
            message = line.encode()[: _EVENT_BYTES - _OVERHEAD].decode(errors="ignore") or " "
            cost = len(message.encode()) + _OVERHEAD
            if batch and (size + cost > _BATCH_BYTES or len(batch) == _BATCH_EVENTS):
                client.put_log_events(**self._names, logEvents=batch)
                batch, size = [], 0
            batch.append({"timestamp": stamp, "message": message})
            size += cost
        if batch:
            client.put_log_events(**self._names, logEvents=batch)
