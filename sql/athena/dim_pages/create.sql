-- What:   every page of a step between pages.
-- Grain:  one page.
-- Source: glue/build_model.py, anew with every run.
CREATE EXTERNAL TABLE IF NOT EXISTS {{ names.glue.database }}.dim_pages (
    page STRING,
    first_seen_date DATE,
    last_seen_date DATE,
    view_count BIGINT,
    entry_count BIGINT,
    exit_count BIGINT
)
STORED AS PARQUET -- noqa: PRS
LOCATION 's3://{{ names.buckets.processed }}/{{ names.prefixes.lake }}dim_pages/'
TBLPROPERTIES ('parquet.compression' = 'ZSTD')
