"""The ASGI application: the services of this package in front of MiniStack, on one port."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import logging
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import uvicorn

from localaws import (
    api_gateway,
    api_patches,
    embedded_metrics,
    kinesis,
    lambda_runtime,
    ministack_mends,
)
from localaws.service import AwsError, Context, Service
from localaws.trail import INTERNAL, acting_as, signer

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

log = logging.getLogger("localaws")

HEALTH_PATH = "/_localaws/health"
TRAIL_PATH = "/_localaws/trail"
#: How long a change of MiniStack's control plane lies in memory only, and a kill can lose it
#: (longer when its state is so large that saving takes a noticeable time).
SAVE_INTERVAL_SECONDS = 0.5
#: Terraform's HTTP client now and then drops a connection whose answer comes within 0.2 ms, before
#: it has noticed that its request is out; it asks again, and what it wanted is made twice. AWS is
#: never that fast (seen in a packet trace: the client ends the connection, 0.2 % of the requests).
TERRAFORM_LATENCY_SECONDS = 0.005

_READS = ("Get", "List", "Describe", "BatchGet", "Search", "Filter")
#: What a request to one service changes in others: a topic's messages lie in its queues.
_ALSO_CHANGED = {"sns": ("sqs",)}


class Gateway:
    """Routes a signed request to the service that computes it, else to MiniStack.

    The service is the SigV4 credential scope, the action the suffix of ``X-Amz-Target``.
    """

    def __init__(self, context: Context, services: Iterable[Service]) -> None:
        self._configure_ministack(context)
        from ministack import app as ministack  # reads its environment on import

        ministack_mends.install()
        kinesis.install(context.home / "kinesis")
        api_gateway.install()
        api_patches.install()
        embedded_metrics.install(context)
        lambda_runtime.install(context)
        self._context = context
        self._ministack = ministack
        self._services = {service.scope: service for service in services}
        for service in self._services.values():
            service.install()
        # An action may call back into this process (Athena reads the catalog), so the pool is
        # far larger than the number of nested calls in flight.
        self._workers = ThreadPoolExecutor(64, thread_name_prefix="localaws")
        self._stopping = asyncio.Event()
        self._ready = False

    @staticmethod
    def _configure_ministack(context: Context) -> None:
        address = urlsplit(context.endpoint)
        os.environ.update(
            GATEWAY_PORT=str(address.port),
            BIND_HOST=str(address.hostname),
            MINISTACK_REGION=context.region,
            IOT_MTLS_ENABLED="0",
            SFTP_ENABLED="0",
            PERSIST_STATE="1",
            STATE_DIR=str(context.home / "ministack"),
            S3_PERSIST="1",
            S3_DATA_DIR=str(context.home / "s3"),
        )
        os.environ.setdefault("LOG_LEVEL", "WARNING")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (or the server's start and stop)."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == HEALTH_PATH:
            await _answer(
                send, 200 if self._ready else 503, {"ready": self._ready, "pid": os.getpid()}
            )
        elif scope["type"] == "http" and scope["path"] == TRAIL_PATH:
            await _answer(send, 200, {"calls": self._context.trail.calls()})
        elif scope["type"] == "http":
            await self._route(scope, receive, send)
        else:
            await self._ministack.app(scope, receive, send)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        if b"Terraform" in headers.get(b"user-agent", b""):
            await asyncio.sleep(TERRAFORM_LATENCY_SECONDS)
        principal, name = signer(headers)
        action = headers.get(b"x-amz-target", b"").decode().rpartition(".")[2]
        action = action or scope["path"].partition("/operation/")[2]  # the RPC protocol's place
        service = self._services.get(name)
        if service is None or (service.falls_through and _method(service, action) is None):
            if principal not in ("", INTERNAL):
                alias = self._ministack.SERVICE_NAME_ALIASES.get(name, name)
                receive, send = self._context.trail.watch(
                    principal, alias, action, scope, receive, send
                )
            await self._ministack.app(scope, receive, send)
            if _may_change_state(name, action, scope):
                self._context.unsaved |= {name, *_ALSO_CHANGED.get(name, ())}
            return
        try:
            body = await _read(receive)
        except ConnectionResetError:
            return
        try:
            response = await asyncio.get_running_loop().run_in_executor(
                self._workers, _call, service, action, body, principal
            )
            await _answer(send, 200, response)
        except AwsError as error:
            await _answer(
                send,
                error.status,
                {"__type": error.code, "message": error.message, "Message": error.message}
                | error.extra,
                {b"x-amzn-errortype": error.code.encode()},
            )
        except Exception as error:
            log.exception("%s.%s failed", name, action)
            message = f"localaws could not compute {name}:{action}: {error}"
            await _answer(send, 500, {"__type": "InternalFailure", "message": message})

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        saver: asyncio.Task[None] | None = None

        async def started(message: MutableMapping[str, Any]) -> None:
            nonlocal saver
            if message["type"] == "lifespan.startup.complete":
                saver = asyncio.create_task(self._save_changes())
                threading.Thread(
                    target=self._start_services, name="localaws-start", daemon=True
                ).start()
            await send(message)

        async def stopping() -> MutableMapping[str, Any]:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                self._ready = False
                for service in self._services.values():
                    await asyncio.to_thread(service.stop)
                self._stopping.set()
                if saver:
                    await saver
                await asyncio.to_thread(self._tell_saved)
            return message

        await self._ministack.app(scope, stopping, started)
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._context.trail.flush()
        self._context.state.close()

    def _start_services(self) -> None:
        wait_until(lambda: _status(self._context.endpoint) is not None, timeout=60)
        try:
            for service in self._services.values():
                service.start()
        except Exception:
            log.exception("the embedded AWS could not start")
            os._exit(1)
        self._ready = True

    async def _save_changes(self) -> None:
        """MiniStack saves on a clean exit only; this keeps its control plane safe from a kill."""
        pause = SAVE_INTERVAL_SECONDS
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            unsaved = set(self._context.unsaved)
            self._context.unsaved -= unsaved
            started = time.perf_counter()
            try:
                await asyncio.to_thread(self._context.trail.flush)
            except sqlite3.Error as error:
                log.warning("the access trail will be saved again: %s", error)
            for name in unsaved:
                try:
                    await self._save(self._ministack.SERVICE_NAME_ALIASES.get(name, name))
                except Exception as error:  # MiniStack's threads may change what is copied
                    log.warning("the state of %s will be saved again: %s", name, error)
                    self._context.unsaved.add(name)
            await asyncio.to_thread(self._tell_saved)
            # A large state takes long to copy, and nothing is answered meanwhile.
            pause = max(SAVE_INTERVAL_SECONDS, 5 * (time.perf_counter() - started))

    def _tell_saved(self) -> None:
        for service in self._services.values():
            service.saved()

    async def _save(self, name: str) -> None:
        entry = self._ministack.SERVICE_REGISTRY.get(name)
        if entry is None:
            return
        keys = {entry.get("state_key", entry["module"]), *entry.get("sub_modules", ())}
        states = self._ministack._build_persistence_save_dict()
        for key in keys & states.keys():
            state = states[key]()
            if state is not None:
                await asyncio.to_thread(_write_state, key, state)


def _write_state(key: str, state: Any) -> None:
    """MiniStack's save_state by json.dumps, which encodes in C (json.dump does not)."""
    from ministack.core import persistence

    wrapped = {"__ministack_format__": persistence._state_format_version(key), "payload": state}
    path = Path(persistence.STATE_DIR, f"{key}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(wrapped, default=persistence._json_default))
    draft.replace(path)


def _may_change_state(name: str, action: str, scope: Scope) -> bool:
    if name == "s3":  # objects are on disk already; what a bucket is must be saved
        return scope["method"] in ("PUT", "DELETE", "POST") and "/" not in scope["path"].strip("/")
    if scope["path"].endswith("/invocations"):  # of a function
        return False
    if not action:  # a REST service, or a form whose action is in the body
        return bool(name) and scope["method"] not in ("GET", "HEAD")
    return bool(name) and not action.startswith(_READS)


def _method(
    service: Service, action: str
) -> Callable[[dict[str, Any]], dict[str, Any] | None] | None:
    return getattr(service, action, None) if action[:1].isupper() else None


def _call(service: Service, action: str, body: bytes, principal: str) -> dict[str, Any]:
    method = _method(service, action)
    if method is None:
        raise AwsError(
            "UnknownOperationException",
            f"The embedded AWS does not implement {service.scope}:{action or '(no X-Amz-Target)'}.",
        )
    try:
        request = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise AwsError(
            "SerializationException", f"The request's body is not JSON: {error}"
        ) from None
    service.context.trail.request(principal, service.scope, action, request)
    with acting_as(principal if service.acts_as_caller else INTERNAL):
        return method(request) or {}


async def _read(receive: Receive) -> bytes:
    chunks = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("the client went away")
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


async def _answer(
    send: Send, status: int, body: dict[str, Any], headers: dict[bytes, bytes] | None = None
) -> None:
    data = orjson.dumps(body, default=_encode, option=orjson.OPT_PASSTHROUGH_DATETIME)
    request_id = str(uuid.uuid4()).encode()
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/x-amz-json-1.1"),
                (b"content-length", str(len(data)).encode()),
                (b"x-amzn-requestid", request_id),
                *(headers or {}).items(),
            ],
        }
    )
    await send({"type": "http.response.body", "body": data})


def _encode(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _get(endpoint: str, path: str) -> tuple[int, bytes] | None:
    """The answer's HTTP status and body, or None when nothing answers."""
    address = urlsplit(endpoint)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    return None


def _status(endpoint: str) -> int | None:
    answer = _get(endpoint, HEALTH_PATH)
    return answer[0] if answer else None


def is_ready(endpoint: str) -> bool:
    """Whether an embedded AWS answers at `endpoint` and its services have started."""
    return _status(endpoint) == 200


def read_trail(endpoint: str) -> list[dict[str, Any]] | None:
    """The access trail of the embedded AWS at `endpoint`, or None when none answers."""
    answer = _get(endpoint, TRAIL_PATH)
    return orjson.loads(answer[1])["calls"] if answer and answer[0] == 200 else None


def wait_until(condition: Callable[[], bool], timeout: float, interval: float = 0.05) -> bool:
    """Poll `condition` until it is true (True) or `timeout` seconds have passed (False)."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval)
    return True


def serve(context: Context, services: Iterable[Service], host: str) -> None:
    """Serve on `host` until SIGTERM or SIGINT; returns after state is saved."""
    uvicorn.run(
        Gateway(context, services),
        host=host,
        port=int(urlsplit(context.endpoint).port or 0),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=3,
    )
