-- What:   second half of the load: the snapshot comes in from the lake, through Spectrum.
-- Grain:  one product_id.
-- Source: lake.dim_products.
INSERT INTO {{ names.redshift.schema }}.dim_products (
    product_id,
    product_name,
    category,
    price,
    first_seen_at,
    last_seen_at
)
SELECT
    product_id,
    product_name,
    category,
    price,
    first_seen_at,
    last_seen_at
FROM {{ names.redshift.lake_schema }}.dim_products
