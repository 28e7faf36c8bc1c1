-- What:   how far sessions came, from a view to a purchase, robots left out.
-- Grain:  one day, device_type, channel and country.
-- Source: glue/build_model.py, by the day (UTC) of the sessions' start.
CREATE EXTERNAL TABLE IF NOT EXISTS {{ names.glue.database }}.funnel_daily (
    device_type STRING,
    channel STRING,
    country STRING,
    session_count BIGINT,
    viewed_count BIGINT,
    carted_count BIGINT,
    checkout_count BIGINT,
    purchased_count BIGINT
)
PARTITIONED BY (day STRING)
STORED AS PARQUET -- noqa: PRS
LOCATION 's3://{{ names.buckets.processed }}/{{ names.prefixes.lake }}funnel_daily/'
TBLPROPERTIES ('parquet.compression' = 'ZSTD')
