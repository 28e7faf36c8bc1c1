-- What:   every product, as the last day that says so describes it.
-- Grain:  one product_id.
-- Source: lake.dim_products.
CREATE TABLE IF NOT EXISTS {{ names.redshift.schema }}.dim_products (
    product_id VARCHAR(65535) NOT NULL,
    product_name VARCHAR(65535),
    category VARCHAR(65535),
    price DECIMAL(18, 4),
    first_seen_at TIMESTAMP NOT NULL,
    last_seen_at TIMESTAMP NOT NULL
)
-- Beside the product's days.
DISTKEY (product_id)
SORTKEY (product_id)
