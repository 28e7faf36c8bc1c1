"""The collector: what API Gateway's ``/events``, ``/beacon`` and ``/health`` invoke.

It answers 202 only when Kinesis has taken every line. A request with a bad event is answered 400,
with its place and reason: its good events are taken all the same, and the bad one goes on to the
quarantine, so that nobody need send anything again. After 429 or 503 all of it is sent again: the
lake drops what came twice.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
import logging
import os
import random
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from lambdas.collector.body import Line, Origin, TooLarge, Unusable, network, read_body

Answer = dict[str, Any]

#: How long lines that Kinesis refuses are offered again. The last offer may take 8 s more (two
#: tries of `_kinesis`), and the function has 25 s: it answers before API Gateway gives up (29 s).
PATIENCE_SECONDS: Final = 8.0
BACKOFF_BASE_SECONDS, BACKOFF_CAP_SECONDS = 0.05, 1.0
#: A stream's state may be asked for 20 times a second in an account.
HEALTH_SECONDS: Final = 10.0
RETRY_AFTER_SECONDS: Final = 2
PREFLIGHT_SECONDS: Final = 86_400

log = logging.getLogger("collector")
log.setLevel(logging.INFO)


def handle(request: dict[str, Any], context: object) -> Answer:
    """Answer one request of API Gateway's proxy integration; never raises."""
    headers = {name.lower(): value for name, value in (request.get("headers") or {}).items()}
    try:
        answer = _route(request, headers)
    except Exception:  # the caller gets no stack trace, and the log gets all of it
        log.exception("a request failed")
        answer = _unavailable()
    answer["headers"] |= _cors(headers.get("origin"))
    return answer


def _route(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
    method, path = request["httpMethod"], request["path"].rstrip("/")
    if (method, path) == ("GET", "/health"):
        return _health()
    if path not in ("/events", "/beacon"):
        return _answer(404, {"message": f"there is no {path or '/'}; events go to POST /events"})
    if method == "OPTIONS":
        return _preflight(headers)
    if method != "POST":
        return _answer(405, {"message": "send events with POST"}, {"Allow": "POST, OPTIONS"})
    kinds = ["application/json"]
    if path == "/beacon":
        # A beacon has no header for API Gateway's key, nor a content type that needs a preflight.
        key = (request.get("queryStringParameters") or {}).get("key", "")
        if not _is_known(key):
            return _answer(403, {"message": "the parameter key is no API key of this collector"})
        kinds.append("text/plain")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    packing = headers.get("content-encoding", "identity").strip().lower()
    if kind not in kinds:
        return _answer(415, {"message": f"send events as {' or '.join(kinds)}, not {kind!r}"})
    if packing not in ("identity", "gzip"):
        return _answer(415, {"message": f"send the body as it is or gzipped, not {packing!r}"})
    body = request.get("body") or ""
    origin = Origin(
        datetime.now(UTC),
        network(request["requestContext"]["identity"].get("sourceIp") or ""),
        headers.get("user-agent"),
    )
    try:
        lines = read_body(
            base64.b64decode(body) if request.get("isBase64Encoded") else body.encode(),
            packing == "gzip",
            origin,
        )
    except TooLarge as error:
        return _answer(413, {"message": str(error)})
    except Unusable as error:
        return _answer(400, {"message": str(error), "accepted": 0, "rejected": []})
    return _told(lines) if _put(lines) else _unavailable()


def _told(lines: Sequence[Line]) -> Answer:
    ids = [line.event_id for line in lines if line.event_id]
    rejected = [
        {"index": index, "reason": line.reason, **({"detail": line.detail} if line.detail else {})}
        for index, line in enumerate(lines)
        if line.reason
    ]
    if not rejected:
        return _answer(202, {"accepted": len(ids), "ids": ids})
    message = f"{len(rejected)} of {len(lines)} are no events; they are in quarantine"
    return _answer(
        400, {"message": message, "accepted": len(ids), "ids": ids, "rejected": rejected}
    )


def _put(lines: Sequence[Line]) -> bool:
    """Put the lines on the stream; whether it took every one of them."""
    records = [{"Data": line.data, "PartitionKey": line.key} for line in lines]
    give_up_at, attempt = time.monotonic() + PATIENCE_SECONDS, 0
    while True:
        try:
            answer = _kinesis().put_records(StreamName=os.environ["STREAM"], Records=records)
            results = answer["Records"]
            records = [
                record
                for record, result in zip(records, results, strict=True)
                if "ErrorCode" in result
            ]
            reason = next((r["ErrorCode"] for r in results if "ErrorCode" in r), "")
        except (BotoCoreError, ClientError) as error:
            reason = str(error)
        if not records:
            return True
        pause = random.uniform(0, min(BACKOFF_CAP_SECONDS, BACKOFF_BASE_SECONDS * 2**attempt))
        if time.monotonic() + pause > give_up_at:
            log.error("%d of %d lines were not taken: %s", len(records), len(lines), reason)
            return False
        time.sleep(pause)
        attempt += 1


def _health() -> Answer:
    state = _stream_state(int(time.monotonic() / HEALTH_SECONDS))
    is_well = state in ("ACTIVE", "UPDATING")
    return _answer(200 if is_well else 503, {"status": "ok" if is_well else "stream " + state})


@functools.lru_cache(maxsize=1)
def _stream_state(_: int) -> str:
    try:
        answer = _kinesis().describe_stream_summary(StreamName=os.environ["STREAM"])
    except (BotoCoreError, ClientError) as error:
        log.error("the stream cannot be seen: %s", error)
        return "UNKNOWN"
    return answer["StreamDescriptionSummary"]["StreamStatus"]


@functools.cache
def _kinesis() -> Any:
    config = Config(
        connect_timeout=1,
        read_timeout=3,
        retries={"mode": "standard", "total_max_attempts": 2},
        parameter_validation=False,
    )
    return boto3.client("kinesis", config=config)


def _is_known(key: str) -> bool:
    digest = hashlib.sha256(key.encode()).hexdigest()
    known = os.environ.get("WRITE_KEYS_SHA256", "").split(",")
    return any([hmac.compare_digest(digest, each) for each in known])


def _preflight(headers: Mapping[str, str]) -> Answer:
    if not _cors(headers.get("origin")):
        return _answer(403, {"message": "this origin is not on the collector's list"})
    return _answer(
        204,
        None,
        {
            "Access-Control-Allow-Methods": "POST",
            "Access-Control-Allow-Headers": "content-type, content-encoding, x-api-key",
            "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
        },
    )


def _cors(origin: str | None) -> dict[str, str]:
    allowed = os.environ.get("ALLOWED_ORIGINS", "").split(",")
    if not origin or origin not in allowed:
        return {}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": "Retry-After",
        "Vary": "Origin",
    }


def _unavailable() -> Answer:
    return _answer(
        503,
        {"message": "not every event could be taken; send all of them again"},
        {"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def _answer(status: int, body: object, headers: Mapping[str, str] | None = None) -> Answer:
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json", **(headers or {})},
        "body": "" if body is None else json.dumps(body, ensure_ascii=False),
        "isBase64Encoded": False,
    }
