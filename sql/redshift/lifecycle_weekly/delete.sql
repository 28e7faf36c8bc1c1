-- What:   first half of the load: all rows leave; TRUNCATE would commit before the new ones are in.
-- Grain:  one week, from its Monday.
-- Source: lake.lifecycle_weekly, a snapshot; it is inserted next, in the same transaction.
DELETE FROM {{ names.redshift.schema }}.lifecycle_weekly
