-- What:   every combination of source, medium and campaign that a session has, and its channel.
-- Grain:  one combination: source_key.
-- Source: glue/build_model.py, anew with every run.
CREATE EXTERNAL TABLE IF NOT EXISTS {{ names.glue.database }}.dim_sources (
    source_key STRING,
    source STRING,
    medium STRING,
    campaign STRING,
    channel STRING
)
STORED AS PARQUET -- noqa: PRS
LOCATION 's3://{{ names.buckets.processed }}/{{ names.prefixes.lake }}dim_sources/'
TBLPROPERTIES ('parquet.compression' = 'ZSTD')
