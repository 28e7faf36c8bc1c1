-- What:   first half of the load: the run's event hours leave the warehouse.
-- Grain:  one event.
-- Source: the ledger's touched hours; the same hours are inserted next, in the same transaction.
DELETE FROM {{ names.redshift.schema }}.fact_clicks
WHERE {{ touched_hours(ti) }}
