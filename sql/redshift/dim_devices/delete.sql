-- What:   first half of the load: all rows leave; TRUNCATE would commit before the new ones are in.
-- Grain:  one combination: device_key.
-- Source: lake.dim_devices, a snapshot; it is inserted next, in the same transaction.
DELETE FROM {{ names.redshift.schema }}.dim_devices
