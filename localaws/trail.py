"""The access trail: who used which IAM action on which resource, as AWS would check it.

The principal is the access key that signed a request: here any key is taken, so a caller uses the
name of the role it would have on AWS. What an engine does under a role (a Glue job, Firehose,
Redshift Spectrum) it does in `acting_as` that role. What the embedded AWS does for itself has no
principal and is not noted. Counts live in memory and are saved now and then: a kill loses less
than a second of them.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from localaws import permissions

if TYPE_CHECKING:
    from localaws.service import Context

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: The access key of the embedded AWS's calls of itself that no principal needs a permission for.
INTERNAL = "localaws"

_principal: ContextVar[str] = ContextVar("principal", default=INTERNAL)
_CREDENTIAL = re.compile(rb"Credential=([^/]+)/\d{8}/[^/]+/([^/]+)/aws4_request")


@contextlib.contextmanager
def acting_as(principal: str) -> Iterator[None]:
    """Calls made within (on this thread) are `principal`'s: an access key or a role's ARN."""
    token = _principal.set(principal.rpartition("/")[2])
    try:
        yield
    finally:
        _principal.reset(token)


def acting() -> str:
    """The access key for calls made now."""
    return _principal.get()


def signer(headers: Mapping[bytes, bytes]) -> tuple[str, str]:
    """Principal and service of a signed request; two empty texts for another."""
    match = _CREDENTIAL.search(headers.get(b"authorization", b""))
    if match is None:
        return "", ""
    key = match[1].decode()
    if key.startswith("ASIA"):
        from ministack.services import sts

        # arn:aws:sts::<account>:assumed-role/<role>/<session>
        key = sts._sessions.get(key, {}).get("Arn", f"/{key}").split("/")[1]
    return key, match[2].decode()


class Trail:
    """What was used, counted by principal, action and resource."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._table = context.state.table("trail")
        self._lock = threading.Lock()
        self._unsaved: set[tuple[str, str, str]] = set()
        self._counts = Counter(
            {
                (call["principal"], call["action"], call["resource"]): call["count"]
                for call in self._table.values()
            }
        )

    def calls(self) -> list[dict[str, Any]]:
        """Everything that was used, sorted."""
        with self._lock:
            found = sorted(self._counts.items())
        return [_call(key, count) for key, count in found]

    def flush(self) -> None:
        """Save what was counted since the last call."""
        with self._lock:
            unsaved, self._unsaved = self._unsaved, set()
            counts = {key: self._counts[key] for key in unsaved}
        try:
            for key, count in counts.items():
                self._table["\t".join(key)] = _call(key, count)
        except sqlite3.Error:
            with self._lock:
                self._unsaved |= unsaved
            raise

    def record(self, action: str, *resources: str, by: str | None = None) -> None:
        """Note one use of `action` on each resource, by whoever acts now or by `by`."""
        principal = by or acting()
        if principal == INTERNAL:
            return
        with self._lock:
            for resource in resources:
                key = principal, action, resource
                self._counts[key] += 1
                self._unsaved.add(key)

    def objects(self, action: str, bucket: str, keys: Iterable[str]) -> None:
        """Note an engine's access to objects on disk: what it would be through S3's API."""
        if acting() == INTERNAL:
            return
        for key in keys:
            self.record(action, permissions.object_arn(bucket, key))
            for kms_key in permissions.bucket_key(bucket):
                self.record(permissions.KMS_ACTIONS[action], kms_key)

    def listing(self, bucket: str) -> None:
        """Note an engine's look into a bucket's folders on disk."""
        self.record("s3:ListBucket", f"arn:aws:s3:::{bucket}")

    def request(self, principal: str, service: str, action: str, request: dict[str, Any]) -> None:
        """Note a request to a service of this package."""
        if principal != INTERNAL:
            for needed in permissions.of_request(self._context, service, action, request):
                self.record(*needed, by=principal)

    def watch(
        self,
        principal: str,
        service: str,
        action: str,
        scope: Message,
        receive: Receive,
        send: Send,
    ) -> tuple[Receive, Send]:
        """Note a request to MiniStack as soon as its answer begins.

        Returns:
            what takes the place of `receive` and `send`.
        """
        # The bodies of objects may be large, and only DeleteObjects' says what it needs.
        has_keys = service != "s3" or b"delete" in scope["query_string"]
        chunks: list[bytes] = []

        async def receiving() -> Message:
            message = await receive()
            if has_keys:
                chunks.append(message.get("body", b""))
            return message

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                body = b"".join(chunks)
                for needed in permissions.of_http(
                    self._context, service, action, scope, body, message
                ):
                    self.record(*needed, by=principal)
            await send(message)

        return receiving, sending


def _call(key: tuple[str, str, str], count: int) -> dict[str, Any]:
    principal, action, resource = key
    return {"principal": principal, "action": action, "resource": resource, "count": count}
