"""Writing to CloudWatch Logs, as AWS's own services do for their runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from localaws.service import Context, now
from localaws.trail import INTERNAL, acting_as

#: PutLogEvents: 1 MiB and 10,000 events a batch, 256 KiB an event, 26 bytes counted for each.
_BATCH_BYTES, _BATCH_EVENTS, _EVENT_BYTES, _OVERHEAD = 1 << 20, 10_000, 256 << 10, 26


def encrypt_logs(context: Context, configuration: str | None, groups: Iterable[str]) -> None:
    """Put log groups under the key that a Glue security configuration names, as Glue does.

    Raises:
        ValueError: there is no such configuration.
    """
    if not configuration:
        return
    with acting_as(INTERNAL):  # the role that runs need not see the configuration
        glue = context.client("glue")
    try:
        found = glue.get_security_configuration(Name=configuration)["SecurityConfiguration"]
    except glue.exceptions.EntityNotFoundException:
        raise ValueError(f"Security configuration {configuration} not found") from None
    if key := found["EncryptionConfiguration"].get("CloudWatchEncryption", {}).get("KmsKeyArn"):
        for group in groups:
            context.client("logs").associate_kms_key(logGroupName=group, kmsKeyId=key)


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
