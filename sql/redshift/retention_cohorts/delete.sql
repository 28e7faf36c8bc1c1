-- What:   first half of the load: all rows leave; TRUNCATE would commit before the new ones are in.
-- Grain:  one cohort_week and weeks_since.
-- Source: lake.retention_cohorts, a snapshot; it is inserted next, in the same transaction.
DELETE FROM {{ names.redshift.schema }}.retention_cohorts
