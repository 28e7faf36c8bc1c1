-- What:   events, DAU, WAU, MAU, sessions, orders and rates of every day, robots left out.
-- Grain:  one day with an event: day.
-- Source: glue/build_model.py, by day (UTC).
CREATE EXTERNAL TABLE IF NOT EXISTS {{ names.glue.database }}.engagement_daily (
    event_count BIGINT,
    view_count BIGINT,
    user_count BIGINT,
    weekly_user_count BIGINT,
    monthly_user_count BIGINT,
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
LOCATION 's3://{{ names.buckets.processed }}/{{ names.prefixes.lake }}engagement_daily/'
TBLPROPERTIES ('parquet.compression' = 'ZSTD')
