"""What a service of the embedded AWS is: a class whose CamelCase methods are the API's actions."""

from __future__ import annotations

import base64
import functools
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import botocore.config
import botocore.session

from localaws import trail
from localaws.state import State

Request = dict[str, Any]
Response = dict[str, Any]


class AwsError(Exception):
    """An answer that botocore raises as ClientError.

    Args:
        code: the error's shape name in the service model, e.g. ``EntityNotFoundException``.
        message: one sentence that names the thing and the remedy.
        status: the HTTP status.
        extra: further members of the error's shape.
    """

    def __init__(self, code: str, message: str, status: int = 400, **extra: Any) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status, self.extra = code, message, status, extra


@dataclass
class Context:
    """What every service is given: where its state lies and how to reach the others.

    Attributes:
        home: the folder all state is kept in.
        endpoint: the address of this very process; clients made here call back into it.
        state: small durable records (a restart or a kill keeps them).
        trail: who used which permission.
        unsaved: services of MiniStack whose state has changed since it was copied to disk.
    """

    home: Path
    endpoint: str
    region: str = "us-east-1"
    account: str = "000000000000"
    state: State = field(init=False)
    trail: trail.Trail = field(init=False)
    unsaved: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.state = State(self.home / "state.sqlite")
        self.trail = trail.Trail(self)

    def client(self, service: str) -> Any:
        """A botocore client (thread-safe, cached) of this embedded AWS itself.

        Its calls are those of whoever this thread acts as (see `trail.acting_as`). Call it from a
        service's own thread, never from the event loop.
        """
        key = service, trail.acting()
        with self._lock:
            if key not in self._clients:
                self._clients[key] = _session().create_client(
                    service,
                    region_name=self.region,
                    endpoint_url=self.endpoint,
                    aws_access_key_id=trail.acting(),
                    aws_secret_access_key="localaws",
                    config=botocore.config.Config(
                        max_pool_connections=32,
                        retries={"total_max_attempts": 2},
                        s3={"addressing_style": "path"},
                    ),
                )
            return self._clients[key]

    @property
    def s3_root(self) -> Path:
        """Folder with one folder a bucket, an object's bytes under its key (read only).

        Beside each object lies ``<key>.meta.json`` and older versions lie under ``.versions``:
        a reader leaves both out. Writes go through ``client("s3")``.
        """
        return self.home / "s3" / self.account

    def arn(self, service: str, resource: str) -> str:
        """``arn:aws:<service>:<region>:<account>:<resource>``."""
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"


@functools.cache
def _session() -> botocore.session.Session:
    return botocore.session.get_session()


class Service:
    """One AWS service, or the part of it that this package computes.

    A public CamelCase method is an action: it takes the request's JSON and returns the
    response's; datetimes become epoch seconds and bytes base64, as the JSON protocol has it.
    It runs on a worker thread and raises AwsError for an error answer. Further work
    (buffers, jobs, polls) belongs on threads that `start` makes and `stop` ends.
    """

    #: The service in a request's SigV4 scope, e.g. ``firehose``.
    scope: ClassVar[str]
    #: Whether actions that have no method here go on to MiniStack; else they are refused.
    falls_through: ClassVar[bool] = False
    #: Whether it calls other services with its caller's permissions; else they are its own.
    acts_as_caller: ClassVar[bool] = False

    def __init__(self, context: Context) -> None:
        self.context = context

    def install(self) -> None:
        """Called before MiniStack starts: what takes the place of parts of it goes in here."""

    def start(self) -> None:
        """Called once the process answers on its port (clients work)."""

    def stop(self) -> None:
        """Called before the process ends; must return within a few seconds."""

    def saved(self) -> None:
        """Called each time after MiniStack's state was copied to disk."""


def now() -> datetime:
    """The current UTC time; the one clock of the embedded AWS."""
    return datetime.now(UTC)


def page(
    items: list[Any],
    request: Request,
    *,
    limit: int,
    size: str = "MaxResults",
    token: str = "NextToken",
) -> tuple[list[Any], dict[str, str]]:
    """One page of `items` and the member that names the next page, if there is one.

    Args:
        items: the whole list, in an order that does not change between calls.
        request: the request, which may carry the page size and the token.
        limit: the API's largest (and default) page.
        size: the request's member for the page size.
        token: the member for the token, in the request and in the answer.

    Raises:
        AwsError: InvalidRequestException for a token that was not given out here.
    """
    count = min(int(request.get(size) or limit), limit)
    try:
        start = int(base64.urlsafe_b64decode(request[token])) if request.get(token) else 0
    except ValueError:
        raise AwsError(
            "InvalidRequestException", f"{token} is not one that was given out"
        ) from None
    rest = {token: base64.urlsafe_b64encode(str(start + count).encode()).decode()}
    return items[start : start + count], rest if start + count < len(items) else {}
