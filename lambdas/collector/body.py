"""A request's body to lines for the stream: each event checked, completed, and given its key.

An event keeps its text as it was sent; what the collector knows is written in front of it. What is
no event goes to the stream, too, and from there to the clean job's quarantine, so that nothing sent
is lost: as it is, or as base64 where it is no single line of text (to the clean job, JSON_SYNTAX).
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import ipaddress
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Any, Final

from clickstream_contract.event import EPOCH, MICROSECOND, read_fields, to_event
from clickstream_contract.json_lines import Json, Rejected, to_json

MAX_BODY_BYTES: Final = 1 << 20
MAX_EVENTS: Final = 500
#: A record of Kinesis holds 1 MiB, its key of up to 256 characters (1 KiB) and our fields included.
MAX_EVENT_BYTES: Final = (1 << 20) - 4096
MAX_KEY_LENGTH: Final = 256
MAX_AGENT_LENGTH: Final = 1000

#: Parameters of a URL that name a person or open a door.
PRIVATE_PARAMETERS: Final = re.compile(
    r"(?<=[?&])(?:e-?mail|phone|(?:access_|id_|refresh_)?token|auth|api_?key|pass(?:word|wd)?"
    r"|pwd|secret|signature)=[^&#]*&?",
    re.IGNORECASE,
)
URLS: Final = ("page_url", "referrer_url")
#: Fields that are the collector's to say.
OWN_FIELDS: Final = frozenset({"received_at", "ip_address"})
LINE_ENDS: Final = str.maketrans("\r\n", "  ")


class TooLarge(Exception):
    """A body that no smaller part of can be taken; the message says what the limit is."""


class Unusable(Exception):
    """A body of which nothing can be kept; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What the collector knows of a request.

    Attributes:
        received_at: when it came, UTC.
        ip_address: the network it came from (see `network`).
        user_agent: of the request's header.
    """

    received_at: datetime
    ip_address: str | None = None
    user_agent: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line for the stream.

    Attributes:
        data: its bytes, the newline included.
        key: the partition key: whose it is, so that a visitor's events stay in order.
        event_id: of an event; None for what is none.
        reason: why it is no event, as contract.REASONS names it; None for an event.
        detail: the fields or the value at fault.
    """

    data: bytes
    key: str
    event_id: str | None = None
    reason: str | None = None
    detail: str | None = None


def read_body(body: bytes, is_gzipped: bool, origin: Origin) -> list[Line]:
    """The lines of one request, one for each event of its body, in its order.

    Args:
        body: one event or a list of events as JSON, as it came.
        is_gzipped: whether its header says so.
        origin: what every event of it is told.

    Raises:
        TooLarge: over 1 MiB (also unpacked), over 500 events, or an event that no record can hold.
        Unusable: there is nothing in it.
    """
    if len(body) > MAX_BODY_BYTES:
        raise TooLarge(f"the body has {len(body):,} bytes; send at most {MAX_BODY_BYTES:,}")
    lines = list(_read_lines(body, is_gzipped, origin))
    if not lines:
        raise Unusable("the body holds no event; send one as a JSON object, or a list of up to 500")
    if (largest := max(len(line.data) for line in lines)) > MAX_EVENT_BYTES:
        raise TooLarge(f"an event takes {largest:,} bytes; one may have {MAX_EVENT_BYTES:,}")
    return lines


def _read_lines(body: bytes, is_gzipped: bool, origin: Origin) -> Iterator[Line]:
    try:
        text = (_unpack(body) if is_gzipped else body).decode("utf-8-sig")
        items = _split(text)
    except (EOFError, OSError, zlib.error):
        yield _rejected(body, "GZIP_CORRUPT", None)
    except UnicodeDecodeError as error:
        yield _rejected(body, "UTF8", f"byte {error.start}")
    except RecursionError:
        yield _rejected(text.encode(), "DEPTH", None)
    except ValueError:
        yield _rejected(text.encode(), "JSON_SYNTAX", None)
    else:
        if len(items) > MAX_EVENTS:
            raise TooLarge(f"the body has {len(items):,} events; send at most {MAX_EVENTS}")
        for item in items:
            yield _read_item(item, origin)


def network(address: str) -> str | None:
    """The address without what tells one household from the next: /24 of IPv4, /48 of IPv6."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    network = ipaddress.ip_network(f"{ip}/{24 if ip.version == 4 else 48}", strict=False)
    return str(network.network_address)


def _unpack(body: bytes) -> bytes:
    with gzip.GzipFile(fileobj=BytesIO(body)) as packed:
        text = packed.read(MAX_BODY_BYTES + 1)
    if len(text) > MAX_BODY_BYTES:
        raise TooLarge(f"the body unpacks to over {MAX_BODY_BYTES:,} bytes; send at most these")
    return text


def _split(text: str) -> list[str]:
    """The texts of a list's items; a text that is no list is its own only item."""
    text = text.strip(" \t\n\r")
    if not text.startswith("["):
        return [text] if text else []
    items = []
    at = _BLANKS.match(text, 1).end()  # type: ignore[union-attr]
    if text[at:] == "]":
        return []
    while True:
        _, end = _SCANNER.raw_decode(text, at)
        items.append(text[at:end])
        mark = _SEPARATOR.match(text, end)
        if mark is None:
            raise ValueError("neither a comma nor the list's end")
        if mark[1] == "]":
            if mark.end() < len(text):
                raise ValueError("text after the list")
            return items
        at = mark.end()


def _read_item(text: str, origin: Origin) -> Line:
    line = text.encode()
    try:
        fields = read_fields(line)
        if b"\n" in line or b"\r" in line:  # in JSON they stand between its parts only
            text = text.translate(LINE_ENDS)
            line = text.encode()
        event = to_event(fields, line, (origin.received_at - EPOCH) // MICROSECOND)
    except Rejected as error:
        return _rejected(line, error.reason, error.detail)
    known = {"received_at": origin.received_at.isoformat().replace("+00:00", "Z")}
    if origin.ip_address:
        known["ip_address"] = origin.ip_address
    if origin.user_agent and fields.get("user_agent") is None:
        known["user_agent"] = origin.user_agent[:MAX_AGENT_LENGTH]
    if event["is_event_id_derived"]:
        known["event_id"] = event["event_id"]
    return Line(
        data=f"{_with_fields(text, fields, known)}\n".encode(),
        key=(event["anonymous_id"] or event["user_id"])[:MAX_KEY_LENGTH],
        event_id=event["event_id"],
    )


def _with_fields(text: str, fields: dict[str, Json], known: dict[str, str]) -> str:
    """The event with what the collector knows, and without what a URL should not have told."""
    cleaned: dict[str, Json] = {
        name: _without_private(fields[name]) for name in URLS if name in fields
    }
    if all(fields[name] == value for name, value in cleaned.items()) and not (
        fields.keys() & (OWN_FIELDS | known.keys())
    ):
        return f"{{{json.dumps(known, ensure_ascii=False)[1:-1]},{text[1:]}"
    named: dict[str, Json] = {**known, **fields, **cleaned, **known}
    return to_json(tuple(named.items()))


def _without_private(url: Any) -> Any:
    if not isinstance(url, str) or "?" not in url:
        return url
    cleaned, found = PRIVATE_PARAMETERS.subn("", url)
    return re.sub(r"[?&](?=#|$)", "", cleaned) if found else url


def _rejected(data: bytes, reason: str, detail: str | None) -> Line:
    """What is no event, as it came; what is more than one line of text comes as base64."""
    if b"\n" in data or b"\r" in data or reason in ("UTF8", "GZIP_CORRUPT"):
        data = b"base64:" + base64.b64encode(data)
    return Line(data + b"\n", hashlib.sha256(data).hexdigest()[:32], None, reason, detail)


def _nothing(_: object) -> None:
    return None


#: Finds where a value ends, and keeps nothing of it.
_SCANNER: Final = json.JSONDecoder(
    object_pairs_hook=_nothing, parse_int=_nothing, parse_float=_nothing, parse_constant=_nothing
)
_BLANKS: Final = re.compile(r"[ \t\n\r]*")
_SEPARATOR: Final = re.compile(r"[ \t\n\r]*([,\]])[ \t\n\r]*")
