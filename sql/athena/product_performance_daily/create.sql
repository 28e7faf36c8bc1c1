-- What:   what happened to every product, day by day, robots left out.
-- Grain:  one product on one day on which an event names it.
-- Source: glue/build_model.py, by day (UTC).
CREATE EXTERNAL TABLE IF NOT EXISTS {{ names.glue.database }}.product_performance_daily (
    product_id STRING,
    product_name STRING,
    category STRING,
    price DECIMAL(18, 4),
    view_count BIGINT,
    click_count BIGINT,
    add_to_cart_count BIGINT,
    remove_from_cart_count BIGINT,
    purchase_count BIGINT,
    quantity BIGINT,
    revenue DECIMAL(38, 4),
    viewer_count BIGINT,
    buyer_count BIGINT,
    first_event_at TIMESTAMP,
    last_event_at TIMESTAMP
)
PARTITIONED BY (day STRING)
STORED AS PARQUET -- noqa: PRS
LOCATION 's3://{{ names.buckets.processed }}/{{ names.prefixes.lake }}product_performance_daily/'
TBLPROPERTIES ('parquet.compression' = 'ZSTD')
