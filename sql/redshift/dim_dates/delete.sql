-- What:   first half of the load: all rows leave; TRUNCATE would commit before the new ones are in.
-- Grain:  one UTC day: event_date; weekday 0 is Sunday.
-- Source: lake.dim_dates, a snapshot; it is inserted next, in the same transaction.
DELETE FROM {{ names.redshift.schema }}.dim_dates
