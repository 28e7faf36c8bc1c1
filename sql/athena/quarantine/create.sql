-- What:   every line that was not accepted, with its exact bytes.
-- Grain:  one rejected line: (source_object, source_line).
-- Source: glue/clean_events.py, by day of arrival (UTC).
CREATE EXTERNAL TABLE IF NOT EXISTS {{ names.glue.database }}.quarantine (
    reason STRING,
    detail STRING,
    raw_bytes BINARY,
    source_object STRING,
    source_line BIGINT,
    arrived_at TIMESTAMP,
    processed_timestamp TIMESTAMP
)
PARTITIONED BY (day STRING)
STORED AS PARQUET -- noqa: PRS
LOCATION 's3://{{ names.buckets.errors }}/{{ names.prefixes.quarantine }}'
TBLPROPERTIES ('parquet.compression' = 'ZSTD')
