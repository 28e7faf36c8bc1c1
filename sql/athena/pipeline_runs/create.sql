-- What:   the ledger: what each run of the clean job read, loaded, dropped and rejected.
-- Grain:  one run of the clean job over one interval.
-- Source: glue/clean_events.py, by day of the interval's start.
CREATE EXTERNAL TABLE IF NOT EXISTS {{ names.glue.database }}.pipeline_runs (
    run_id string,
    job_name string,
    interval_start timestamp,
    interval_end timestamp,
    started_at timestamp,
    ended_at timestamp,
    object_count bigint,
    line_count bigint,
    loaded_count bigint,
    duplicate_count bigint,
    quarantined_count bigint,
    blank_count bigint,
    displaced_count bigint,
    residual bigint,
    quarantined_by_reason map<string, bigint>,
    touched_hours array<timestamp>
)
PARTITIONED BY (day string)
STORED AS PARQUET
LOCATION 's3://{{ names.buckets.processed }}/{{ names.prefixes.lake }}pipeline_runs/'
TBLPROPERTIES ('parquet.compression' = 'ZSTD')
