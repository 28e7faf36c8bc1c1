-- What:   new, retained, returning and churned persons of every week.
-- Grain:  one week, from its Monday.
-- Source: glue/build_model.py, anew with every run.
CREATE EXTERNAL TABLE IF NOT EXISTS {{ names.glue.database }}.lifecycle_weekly (
    week DATE,
    new_count BIGINT,
    retained_count BIGINT,
    returning_count BIGINT,
    churned_count BIGINT
)
STORED AS PARQUET -- noqa: PRS
LOCATION 's3://{{ names.buckets.processed }}/{{ names.prefixes.lake }}lifecycle_weekly/'
TBLPROPERTIES ('parquet.compression' = 'ZSTD')
