-- What:   every accepted event, deduplicated.
-- Grain:  one event: (event_id, event_timestamp).
-- Source: glue/clean_events.py, by event hour (UTC).
CREATE EXTERNAL TABLE IF NOT EXISTS {{ names.glue.database }}.fact_clicks (
    event_id string,
    is_event_id_derived boolean,
    event_type string,
    event_category string,
    event_timestamp timestamp,
    user_id string,
    anonymous_id string,
    session_id string,
    page string,
    page_url string,
    referrer_url string,
    product_id string,
    device_type string,
    browser string,
    location string,
    user_type string,
    price decimal(18, 4),
    quantity int,
    currency string,
    order_id string,
    is_bot boolean,
    is_clock_skewed boolean,
    metadata map<string, string>,
    payload_hash bigint,
    arrived_at timestamp,
    source_object string,
    source_line bigint,
    processed_timestamp timestamp
)
PARTITIONED BY (year int, month int, day int, hour int)
STORED AS PARQUET
LOCATION 's3://{{ names.buckets.processed }}/{{ names.prefixes.lake }}fact_clicks/'
TBLPROPERTIES ('parquet.compression' = 'ZSTD')
