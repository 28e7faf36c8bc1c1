-- What:   the rows that a run's quality checks look at: the whole snapshot.
-- Grain:  one product_id.
-- Source: dim_products.
SELECT
    product_id,
    price,
    first_seen_at,
    last_seen_at
FROM {{ names.glue.database }}.dim_products
