-- What:   whoever has an event, and the person it belongs to.
-- Grain:  one user_key.
-- Source: glue/build_model.py, anew with every run.
CREATE EXTERNAL TABLE IF NOT EXISTS {{ names.glue.database }}.dim_users (
    user_key STRING,
    person_key STRING,
    is_anonymous BOOLEAN,
    is_bot BOOLEAN,
    first_seen_at TIMESTAMP,
    last_seen_at TIMESTAMP,
    active_day_count BIGINT,
    event_count BIGINT,
    session_count BIGINT,
    order_count BIGINT,
    revenue DECIMAL(38, 4)
)
STORED AS PARQUET -- noqa: PRS
LOCATION 's3://{{ names.buckets.processed }}/{{ names.prefixes.lake }}dim_users/'
TBLPROPERTIES ('parquet.compression' = 'ZSTD')
