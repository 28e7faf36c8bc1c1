-- What:   orders and revenue, handed out to the sources that led to them.
-- Grain:  one day, model, channel, source, medium and campaign.
-- Source: glue/build_model.py, by the day (UTC) of the converted sessions' start.
CREATE EXTERNAL TABLE IF NOT EXISTS {{ names.glue.database }}.attribution_daily (
    model STRING,
    channel STRING,
    source STRING,
    medium STRING,
    campaign STRING,
    order_credit DECIMAL(38, 6),
    revenue DECIMAL(38, 4)
)
PARTITIONED BY (day STRING)
STORED AS PARQUET -- noqa: PRS
LOCATION 's3://{{ names.buckets.processed }}/{{ names.prefixes.lake }}attribution_daily/'
TBLPROPERTIES ('parquet.compression' = 'ZSTD')
