-- What:   steps from page to page, entries and exits among them, robots left out.
-- Grain:  one day, from_page and to_page.
-- Source: glue/build_model.py, by the day (UTC) of the sessions' start.
CREATE EXTERNAL TABLE IF NOT EXISTS {{ names.glue.database }}.page_paths_daily (
    from_page STRING,
    to_page STRING,
    transition_count BIGINT
)
PARTITIONED BY (day STRING)
STORED AS PARQUET -- noqa: PRS
LOCATION 's3://{{ names.buckets.processed }}/{{ names.prefixes.lake }}page_paths_daily/'
TBLPROPERTIES ('parquet.compression' = 'ZSTD')
