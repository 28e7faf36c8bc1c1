-- What:   the ledger: what each run of the clean job read, loaded, dropped and rejected.
-- Grain:  one run of the clean job over one interval.
-- Source: glue/clean_events.py, by day of the interval's start.
CREATE EXTERNAL TABLE IF NOT EXISTS {{ names.glue.database }}.pipeline_runs (
    run_id STRING,
    job_name STRING,
    interval_start TIMESTAMP,
    interval_end TIMESTAMP,
    started_at TIMESTAMP,
    ended_at TIMESTAMP,
    object_count BIGINT,
    line_count BIGINT,
    loaded_count BIGINT,
    duplicate_count BIGINT,
    quarantined_count BIGINT,
    blank_count BIGINT,
    erased_count BIGINT,
    displaced_count BIGINT,
    residual BIGINT,
    quarantined_by_reason MAP<STRING, BIGINT>,
    touched_hours ARRAY<TIMESTAMP>
)
PARTITIONED BY (day STRING)
STORED AS PARQUET -- noqa: PRS
LOCATION 's3://{{ names.buckets.processed }}/{{ names.prefixes.lake }}pipeline_runs/'
TBLPROPERTIES ('parquet.compression' = 'ZSTD')
