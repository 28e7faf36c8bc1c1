"""The event contract (v1) as constants: what a raw line may hold and what the lake stores.

docs/data-model.md is the prose of this file; a column changes in both or in neither.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

# The client's text fields, stored as sent.
TEXT_FIELDS: Final = [
    "session_id",
    "page",
    "page_url",
    "referrer_url",
    "product_id",
    "device_type",
    "browser",
    "location",
    "user_type",
    "currency",
    "order_id",
]

# The fields that must be one value: an object or an array here is a TYPE error.
STRING_FIELDS: Final = [*["event_id", "event_type", "user_id", "anonymous_id"], *TEXT_FIELDS]

# An alias counts only where its own name is absent; beside it, it is an unknown field.
ALIASES: Final = {"event_timestamp": "timestamp", "metadata": "additional_data"}

# All names the contract knows; any other is kept in metadata.
FIELDS: Final = [
    *STRING_FIELDS,
    *ALIASES,
    *ALIASES.values(),
    *["price", "quantity", "user_agent", "ip_address"],
]

TYPE_SYNONYMS: Final = {"page_view": "view"}
CATEGORIES: Final = {
    "view": "browse",
    "search": "browse",
    "click": "engage",
    "add_to_cart": "cart",
    "remove_from_cart": "cart",
    "checkout": "conversion",
    "purchase": "conversion",
    "login": "account",
    "signup": "account",
}
OTHER_CATEGORY: Final = "other"

# Keys that metadata must not carry past raw, compared in lower case without "_" and "-".
PERSONAL_KEYS: Final = [
    "useragent",
    "ip",
    "ipaddress",
    "ipaddr",
    "clientip",
    "remoteip",
    "remoteaddr",
    "xforwardedfor",
    "xrealip",
]

# What ua-parser's list of robots misses, compared in lower case.
BOT_MARKS: Final = [
    "bot",
    "crawl",
    "spider",
    "slurp",
    "headless",
    "lighthouse",
    "curl/",
    "wget/",
    "python-",
    "okhttp/",
    "go-http-client",
]

# Lines that Spark's own quarantine order tells apart; the first that applies names the line.
REASONS: Final = {
    "GZIP_TRUNCATED": "the gzip stream ends inside this line",
    "GZIP_CORRUPT": "bytes of the object that are no sound gzip member, as they lie",
    "OVERSIZE": "longer than --max-line-bytes",
    "UTF8": "not valid UTF-8",
    "NOT_AN_OBJECT": "valid JSON, but not one object",
    "CONCATENATED": "several JSON objects on one line",
    "NUMERIC": "NaN, Infinity, an overlong number, or more than the column holds exactly",
    "DEPTH": "nested deeper than 100 levels",
    "JSON_SYNTAX": "not JSON",
    "UNICODE": "a lone surrogate escape, which no UTF-8 can hold",
    "DUP_KEY": "a key twice in the event or in its metadata",
    "TYPE": "an object or array where a value belongs, or metadata that is no object",
    "MISSING_FIELD": "a required field is absent, null or blank",
    "TIME": "no time, or one before 2000 or over 366 days after its arrival",
    "ID_COLLISION": "the key of an earlier event with another payload",
}

EARLIEST_EVENT: Final = datetime(2000, 1, 1, tzinfo=UTC)
LATEST_AFTER_ARRIVAL: Final = timedelta(days=366)
CLOCK_SKEW: Final = timedelta(hours=24)
MAX_LINE_BYTES: Final = 1 << 20

# The winner of a key is the smallest of these.
ARRIVAL_ORDER: Final = ["arrived_at", "source_object", "source_line"]
KEY: Final = ["event_id", "event_timestamp"]
HOUR_COLUMNS: Final = ["year", "month", "day", "hour"]

# What tells a copy from a collision, in the order of the hash.
PAYLOAD: Final = [
    "event_type",
    "user_id",
    "anonymous_id",
    "session_id",
    "page",
    "page_url",
    "referrer_url",
    "product_id",
    "device_type",
    "browser",
    "location",
    "user_type",
    "price",
    "quantity",
    "currency",
    "order_id",
]

# What a line holds, why it is none, and where it lies.
EVENT_SCHEMA: Final = """
    event_id string, is_event_id_derived boolean, event_type string, event_category string,
    event_timestamp timestamp, user_id string, anonymous_id string, session_id string,
    page string, page_url string, referrer_url string, product_id string, device_type string,
    browser string, location string, user_type string, price decimal(18,4), quantity int,
    currency string, order_id string, agent_browser string, agent_os string, agent_device string,
    is_bot boolean, is_clock_skewed boolean, metadata map<string,string>"""
EVENT_COLUMNS: Final = re.findall(r"(\w+) \w", EVENT_SCHEMA)
REJECT_SCHEMA: Final = "reason string, detail string, raw_bytes binary"
ARRIVAL_SCHEMA: Final = "arrived_at timestamp, source_object string, source_line bigint"

FACT_SCHEMA: Final = f"""{EVENT_SCHEMA}, payload_hash bigint, {ARRIVAL_SCHEMA},
    processed_timestamp timestamp
"""
QUARANTINE_SCHEMA: Final = """
    reason string, detail string, raw_bytes binary, source_object string, source_line bigint,
    arrived_at timestamp, processed_timestamp timestamp
"""
# The detail of an ID_COLLISION names the key and the payload that lost.
COLLISION_DETAIL: Final = "event_id string, event_micros bigint, payload_hash bigint"
LEDGER_SCHEMA: Final = """
    run_id string, job_name string, interval_start timestamp, interval_end timestamp,
    started_at timestamp, ended_at timestamp, object_count bigint, line_count bigint,
    loaded_count bigint, duplicate_count bigint, quarantined_count bigint, blank_count bigint,
    erased_count bigint, displaced_count bigint, residual bigint,
    quarantined_by_reason map<string,bigint>, touched_hours array<timestamp>, day string
"""
