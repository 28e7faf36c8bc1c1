-- What:   every accepted event, deduplicated.
-- Grain:  one event: (event_id, event_timestamp).
-- Source: glue/clean_events.py, by event hour (UTC).
CREATE EXTERNAL TABLE IF NOT EXISTS {{ names.glue.database }}.fact_clicks (
    event_id STRING,
    is_event_id_derived BOOLEAN,
    event_type STRING,
    event_category STRING,
    event_timestamp TIMESTAMP,
    user_id STRING,
    anonymous_id STRING,
    session_id STRING,
    page STRING,
    page_url STRING,
    referrer_url STRING,
    product_id STRING,
    device_type STRING,
    browser STRING,
    location STRING,
    user_type STRING,
    price DECIMAL(18, 4),
    quantity INT,
    currency STRING,
    order_id STRING,
    agent_browser STRING,
    agent_os STRING,
    agent_device STRING,
    is_bot BOOLEAN,
    is_clock_skewed BOOLEAN,
    metadata MAP<STRING, STRING>,
    payload_hash BIGINT,
    arrived_at TIMESTAMP,
    source_object STRING,
    source_line BIGINT,
    processed_timestamp TIMESTAMP
)
PARTITIONED BY (year INT, month INT, day INT, hour INT)
STORED AS PARQUET -- noqa: PRS
LOCATION 's3://{{ names.buckets.processed }}/{{ names.prefixes.lake }}fact_clicks/'
TBLPROPERTIES ('parquet.compression' = 'ZSTD')
