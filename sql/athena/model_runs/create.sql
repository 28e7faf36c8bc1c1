-- What:   what each run of the model job touched, rebuilt and wrote.
-- Grain:  one run of the model job over one interval.
-- Source: glue/build_model.py, by day of the interval's start.
CREATE EXTERNAL TABLE IF NOT EXISTS {{ names.glue.database }}.model_runs (
    run_id STRING,
    job_name STRING,
    interval_start TIMESTAMP,
    interval_end TIMESTAMP,
    started_at TIMESTAMP,
    ended_at TIMESTAMP,
    touched_days ARRAY<STRING>,
    rebuilt_days MAP<STRING, ARRAY<STRING>>,
    row_counts MAP<STRING, BIGINT>
)
PARTITIONED BY (day STRING)
STORED AS PARQUET -- noqa: PRS
LOCATION 's3://{{ names.buckets.processed }}/{{ names.prefixes.lake }}model_runs/'
TBLPROPERTIES ('parquet.compression' = 'ZSTD')
