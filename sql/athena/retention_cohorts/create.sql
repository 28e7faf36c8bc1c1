-- What:   persons by the week they were first active in, and how many came back.
-- Grain:  one cohort_week and weeks_since.
-- Source: glue/build_model.py, anew with every run.
CREATE EXTERNAL TABLE IF NOT EXISTS {{ names.glue.database }}.retention_cohorts (
    cohort_week DATE,
    weeks_since INT,
    user_count BIGINT,
    cohort_size BIGINT,
    retention_rate DOUBLE
)
STORED AS PARQUET -- noqa: PRS
LOCATION 's3://{{ names.buckets.processed }}/{{ names.prefixes.lake }}retention_cohorts/'
TBLPROPERTIES ('parquet.compression' = 'ZSTD')
