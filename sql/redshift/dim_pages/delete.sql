-- What:   first half of the load: all rows leave; TRUNCATE would commit before the new ones are in.
-- Grain:  one page.
-- Source: lake.dim_pages, a snapshot; it is inserted next, in the same transaction.
DELETE FROM {{ names.redshift.schema }}.dim_pages
