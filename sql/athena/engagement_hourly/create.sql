-- What:   events, users, sessions, orders and rates of every hour, robots left out.
-- Grain:  one hour with an event: hour_at.
-- Source: glue/build_model.py, by day (UTC).
CREATE EXTERNAL TABLE IF NOT EXISTS {{ names.glue.database }}.engagement_hourly (
    hour_at TIMESTAMP,
    event_count BIGINT,
    view_count BIGINT,
    user_count BIGINT,
    session_count BIGINT,
    engaged_session_count BIGINT,
    bounce_count BIGINT,
    converted_session_count BIGINT,
    engaged_rate DOUBLE,
    bounce_rate DOUBLE,
    conversion_rate DOUBLE,
    order_count BIGINT,
    revenue DECIMAL(38, 4)
)
PARTITIONED BY (day STRING)
STORED AS PARQUET -- noqa: PRS
LOCATION 's3://{{ names.buckets.processed }}/{{ names.prefixes.lake }}engagement_hourly/'
TBLPROPERTIES ('parquet.compression' = 'ZSTD')
