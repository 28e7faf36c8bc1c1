-- What:   every product, as the last day that says so describes it.
-- Grain:  one product_id.
-- Source: glue/build_model.py, anew with every run.
CREATE EXTERNAL TABLE IF NOT EXISTS {{ names.glue.database }}.dim_products (
    product_id STRING,
    product_name STRING,
    category STRING,
    price DECIMAL(18, 4),
    first_seen_at TIMESTAMP,
    last_seen_at TIMESTAMP
)
STORED AS PARQUET -- noqa: PRS
LOCATION 's3://{{ names.buckets.processed }}/{{ names.prefixes.lake }}dim_products/'
TBLPROPERTIES ('parquet.compression' = 'ZSTD')
