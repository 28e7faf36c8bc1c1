-- What:   whom an anonymous_id was known as, day by day.
-- Grain:  one anonymous_id on one day on which it is known.
-- Source: glue/build_model.py, by day (UTC).
CREATE EXTERNAL TABLE IF NOT EXISTS {{ names.glue.database }}.identities_daily (
    anonymous_id STRING,
    user_id STRING,
    known_at TIMESTAMP
)
PARTITIONED BY (day STRING)
STORED AS PARQUET -- noqa: PRS
LOCATION 's3://{{ names.buckets.processed }}/{{ names.prefixes.lake }}identities_daily/'
TBLPROPERTIES ('parquet.compression' = 'ZSTD')
