-- What:   what every user did, day by day.
-- Grain:  one user_key on one day on which it has an event.
-- Source: glue/build_model.py, by day (UTC).
CREATE EXTERNAL TABLE IF NOT EXISTS {{ names.glue.database }}.users_daily (
    user_key STRING,
    is_anonymous BOOLEAN,
    event_count BIGINT,
    robot_event_count BIGINT,
    session_count BIGINT,
    order_count BIGINT,
    revenue DECIMAL(38, 4),
    first_event_at TIMESTAMP,
    last_event_at TIMESTAMP
)
PARTITIONED BY (day STRING)
STORED AS PARQUET -- noqa: PRS
LOCATION 's3://{{ names.buckets.processed }}/{{ names.prefixes.lake }}users_daily/'
TBLPROPERTIES ('parquet.compression' = 'ZSTD')
