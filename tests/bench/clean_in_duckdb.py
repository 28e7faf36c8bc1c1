"""The clean job's rows by DuckDB: ``python clean_in_duckdb.py RAW OUT``. For bench_clean.py."""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb

TEXTS = ["session_id", "page", "page_url", "referrer_url", "product_id", "device_type", "browser"]
TEXTS += ["location", "user_type", "currency", "order_id"]
KNOWN = ["event_id", "event_type", "event_timestamp", "timestamp", "user_id", "anonymous_id"]
KNOWN += [*TEXTS, "price", "quantity", "user_agent", "ip_address", "metadata", "additional_data"]
PAYLOAD = ["event_type", "user_id", "anonymous_id", *TEXTS, "price", "quantity", "metadata"]


def main(raw: str, out: str) -> None:
    """Read, parse, dedupe, write."""
    known = ", ".join(f"'{name}'" for name in KNOWN)
    structure = "{" + ", ".join(f'"{name}": "VARCHAR"' for name in KNOWN) + "}"
    texts = ", ".join(name for name in TEXTS if name != "device_type")
    sent = ", ".join(f"e.{name}" for name in TEXTS if name != "device_type")
    Path(out).mkdir()
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    database.execute(f"""
        CREATE TEMP TABLE parsed AS
        SELECT *, json_transform(j, '{structure}') AS e, json_keys(j) AS keys
        FROM (
            SELECT *, place - min(place) OVER (PARTITION BY source_object) + 1 AS source_line,
                IF(json_valid(line) AND line[1] = '{{', line, NULL)::JSON AS j
            FROM (
                SELECT line, filename AS source_object,
                    row_number() OVER () AS place,
                    make_timestamp(2026, 11, 20,
                        regexp_extract(filename, 'hour=(\\d+)', 1)::INT, 0, 0) AS arrived_at
                FROM read_csv('{raw}/*/*/*/*/*.gz', columns = {{'line': 'VARCHAR'}},
                    delim = '\x01', quote = '', escape = '', header = false, auto_detect = false,
                    filename = true, strict_mode = false, max_line_size = 2097152)
            )
        )
        WHERE trim(line) <> ''
    """)
    database.execute(f"""
        CREATE TEMP TABLE typed AS
        SELECT * EXCLUDE (time_text, price_text, quantity_text, agent, own, id, raw_type),
            coalesce(id, sha256(line)) AS event_id,
            id IS NULL AS is_event_id_derived,
            IF(raw_type = 'page_view', 'view', raw_type) AS event_type,
            map_concat(
                IF(len(keys) = len(list_intersect(keys, [{known}])), MAP {{}},
                    map_from_entries(list_transform(
                        list_filter(keys, lambda k: NOT list_contains([{known}], k)),
                        lambda k: {{'k': k, 'v': j ->> k}}))),
                coalesce(own::JSON::MAP(VARCHAR, VARCHAR), MAP {{}})) AS metadata,
            coalesce(device, CASE
                WHEN contains(agent, 'ipad') OR contains(agent, 'tablet') THEN 'tablet'
                WHEN contains(agent, 'mobi') OR contains(agent, 'android') THEN 'mobile'
                WHEN agent <> '' THEN 'desktop' END) AS device_type,
            coalesce(regexp_matches(agent, 'bot|crawl|spider|slurp|headless|lighthouse|curl/|wget/'
                '|python-|okhttp/|go-http-client'), false) AS is_bot,
            CASE WHEN regexp_full_match(time_text, '\\d{{13}}')
                THEN make_timestamp(try_cast(time_text AS BIGINT) * 1000)
                ELSE try_cast(time_text AS TIMESTAMPTZ)::TIMESTAMP END AS event_timestamp,
            try_cast(price_text AS DECIMAL(18, 4)) AS price,
            try_cast(quantity_text AS INT) AS quantity,
            CASE
                WHEN j IS NULL THEN 'JSON_SYNTAX'
                WHEN len(keys) <> len(list_distinct(keys)) THEN 'DUP_KEY'
                WHEN coalesce(raw_type, '') = '' OR coalesce(user_id, anonymous_id) IS NULL
                    THEN 'MISSING_FIELD'
                WHEN event_timestamp IS NULL OR event_timestamp < '2000-01-01'
                    OR event_timestamp >= arrived_at + INTERVAL 366 DAY THEN 'TIME'
                WHEN price_text IS NOT NULL AND (price IS NULL
                    OR price <> price_text::DECIMAL(38, 18)) THEN 'NUMERIC'
                WHEN quantity_text IS NOT NULL AND quantity IS NULL THEN 'NUMERIC'
            END AS reason
        FROM (
            SELECT line, j, keys, arrived_at, source_object, source_line, {sent},
                nullif(e.event_id, '') AS id, lower(trim(e.event_type)) AS raw_type,
                nullif(e.user_id, '') AS user_id, nullif(e.anonymous_id, '') AS anonymous_id,
                nullif(e.device_type, '') AS device, lower(e.user_agent) AS agent,
                coalesce(e.event_timestamp, e.timestamp) AS time_text,
                e.price AS price_text, e.quantity AS quantity_text,
                coalesce(e.metadata, e.additional_data) AS own
            FROM parsed
        )
    """)
    database.execute("DROP TABLE parsed")
    # The earliest of a key wins; of the others the first of each other payload collides.
    database.execute(f"""
        CREATE TEMP TABLE ranked AS
        SELECT *, row_number() OVER key AS place, first_value(payload_hash) OVER key AS winner_hash
        FROM (
            SELECT *, hash({", ".join(PAYLOAD)}) AS payload_hash FROM typed WHERE reason IS NULL
        )
        WINDOW key AS (
            PARTITION BY event_timestamp, event_id
            ORDER BY arrived_at, source_object, source_line)
    """)
    database.execute(f"""
        COPY (
            SELECT event_id, is_event_id_derived, event_type,
                CASE WHEN event_type IN ('view', 'search') THEN 'browse'
                    WHEN event_type = 'click' THEN 'engage'
                    WHEN event_type IN ('add_to_cart', 'remove_from_cart') THEN 'cart'
                    WHEN event_type IN ('checkout', 'purchase') THEN 'conversion'
                    WHEN event_type IN ('login', 'signup') THEN 'account'
                    ELSE 'other' END AS event_category,
                event_timestamp, user_id, anonymous_id, device_type, {texts}, price,
                quantity, is_bot,
                event_timestamp > arrived_at + INTERVAL 24 HOUR AS is_clock_skewed, metadata,
                payload_hash, arrived_at, source_object, source_line,
                now() AS processed_timestamp,
                year(event_timestamp) AS year, month(event_timestamp) AS month,
                day(event_timestamp) AS day, hour(event_timestamp) AS hour
            FROM ranked WHERE place = 1
        ) TO '{out}/fact_clicks'
        (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (year, month, day, hour))
    """)
    database.execute(f"""
        COPY (
            SELECT reason, encode(line) AS raw_bytes, source_object, source_line, arrived_at,
                now() AS processed_timestamp, strftime(arrived_at, '%Y-%m-%d') AS day
            FROM typed WHERE reason IS NOT NULL
            UNION ALL
            SELECT 'ID_COLLISION', encode(line), source_object, source_line, arrived_at,
                now(), strftime(arrived_at, '%Y-%m-%d')
            FROM ranked WHERE payload_hash <> winner_hash
            QUALIFY row_number() OVER (
                PARTITION BY event_timestamp, event_id, payload_hash
                ORDER BY arrived_at, source_object, source_line) = 1
        ) TO '{out}/quarantine' (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (day))
    """)


if __name__ == "__main__":
    main(*sys.argv[1:])
