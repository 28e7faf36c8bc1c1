-- What:   first half of the load: the days that the run has rebuilt leave the warehouse.
-- Grain:  one product on one day on which an event names it.
-- Source: model_runs' rebuilt days; the same days are inserted next, in the same transaction.
DELETE FROM {{ names.redshift.schema }}.product_performance_daily
WHERE {{ rebuilt_days(ti, 'product_performance_daily') }}
