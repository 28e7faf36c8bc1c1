"""``python -m tracker.serve --endpoint URL --key KEY``: the demo shop on this machine.

It serves the files of tracker/shop, tracker.js beside them, and writes config.js: the one file
that names the collector. Any other server of the folder answers these two addresses likewise.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).resolve().parent


def config_js(endpoint: str, key: str) -> str:
    """What config.js says: where the shop's tracker sends to, and with which key."""
    return f"window.shopConfig = {json.dumps({'endpoint': endpoint, 'key': key})};\n"


class ShopHandler(SimpleHTTPRequestHandler):
    """The shop's files, config.js as it is written here, and the tracker."""

    def __init__(self, *args: object, config: str, **kwargs: object) -> None:
        self._config = config.encode()
        super().__init__(*args, directory=str(HERE / "shop"), **kwargs)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Answers config.js itself and leaves the rest to the files."""
        if self.path.partition("?")[0] != "/config.js":
            return super().do_GET()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/javascript")
        self.send_header("Content-Length", str(len(self._config)))
        self.end_headers()
        self.wfile.write(self._config)

    def translate_path(self, path: str) -> str:
        """The file of an address: the tracker lies beside the shop, not in it."""
        if path.partition("?")[0] == "/tracker.js":
            return str(HERE / "tracker.js")
        return super().translate_path(path)

    def end_headers(self) -> None:
        """A page that an editor has just changed is shown as it is now."""
        self.send_header("Cache-Control", "no-cache")
        # The shop and the tracker need no more than this; connect-src is the collector's matter.
        self.send_header("Content-Security-Policy", "script-src 'self'; object-src 'none'")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing: the page itself shows what it sends."""


def make_server(endpoint: str, key: str, port: int = 0) -> ThreadingHTTPServer:
    """A server of the shop on this machine's own address; it runs when the caller lets it."""
    handler = partial(ShopHandler, config=config_js(endpoint, key))
    return ThreadingHTTPServer(("127.0.0.1", port), handler)


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tracker.serve", description=__doc__)
    parser.add_argument("--endpoint", required=True, help="the collector, without /events")
    parser.add_argument("--key", required=True, help="its API key; anybody can read it in the page")
    parser.add_argument("--port", type=int, default=8090)
    options = parser.parse_args()
    server = make_server(options.endpoint.rstrip("/"), options.key, options.port)
    print(f"the shop: http://127.0.0.1:{server.server_port}/ - Ctrl-C ends", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
