"""A collector for the tests, on a port of its own: what it hears, and answers as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

from tracker.serve import make_server

KEY = "test-key"


class Request(NamedTuple):
    """One request with events in it."""

    path: str
    content_type: str
    key: str | None
    status: int
    events: list[dict[str, Any]]


@dataclass
class Collector:
    """It takes what it is sent, after the `answers` that a test has laid down."""

    #: Of the next requests to /events: status and headers.
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def __enter__(self) -> Self:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_OPTIONS(self) -> None:
                self._answer(204, {"Access-Control-Allow-Headers": "content-type, x-api-key"})

            def do_POST(self) -> None:
                events = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, headers = 202, {}
                if self.path == "/events" and collector.answers:
                    status, headers = collector.answers.pop(0)
                collector.requests.append(
                    Request(
                        self.path,
                        self.headers["Content-Type"],
                        self.headers["X-Api-Key"],
                        status,
                        events,
                    )
                )
                ids = [event["event_id"] for event in events]
                said = {"accepted": len(ids), "ids": ids} if status == 202 else {"accepted": 0}
                self._answer(status, headers, json.dumps(said).encode())

            def _answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
                self.send_response(status)
                allowed = {
                    "Access-Control-Allow-Origin": "*",
                    "Access-Control-Expose-Headers": "Retry-After",
                    "Content-Length": str(len(body)),
                }
                for name, value in (allowed | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def events(self) -> list[dict[str, Any]]:
        """All that was taken, in the order in which it came."""
        return [event for request in self.requests if request.status == 202 for event in request[4]]

    def of_type(self, event_type: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event_type"] == event_type]

    def wait_for(self, is_there: Callable[[], object], seconds: float = 8) -> None:
        """Waits in this thread: only for what needs no more of the page's time than it has."""
        end = time.monotonic() + seconds
        while not is_there():
            assert time.monotonic() < end, self.requests
            time.sleep(0.02)


@contextmanager
def serve_shop(collector: Collector) -> Iterator[str]:
    """Serves the demo shop as ``python -m tracker.serve`` does; yields its address."""
    server = make_server(collector.endpoint, KEY)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
