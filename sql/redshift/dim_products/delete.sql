-- What:   first half of the load: all rows leave; TRUNCATE would commit before the new ones are in.
-- Grain:  one product_id.
-- Source: lake.dim_products, a snapshot; it is inserted next, in the same transaction.
DELETE FROM {{ names.redshift.schema }}.dim_products
