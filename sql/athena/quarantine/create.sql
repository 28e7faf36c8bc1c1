-- What:   every line that was not accepted, with its exact bytes.
-- Grain:  one rejected line: (source_object, source_line).
-- Source: glue/clean_events.py, by day of arrival (UTC).
CREATE EXTERNAL TABLE IF NOT EXISTS {{ names.glue.database }}.quarantine (
    reason string,
    detail string,
    raw_bytes binary,
    source_object string,
    source_line bigint,
    arrived_at timestamp,
    processed_timestamp timestamp
)
PARTITIONED BY (day string)
STORED AS PARQUET
LOCATION 's3://{{ names.buckets.errors }}/quarantine/'
TBLPROPERTIES ('parquet.compression' = 'ZSTD')
