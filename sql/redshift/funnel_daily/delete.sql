-- What:   first half of the load: the days that the run has rebuilt leave the warehouse.
-- Grain:  one day, device_type, channel and country.
-- Source: model_runs' rebuilt days; the same days are inserted next, in the same transaction.
DELETE FROM {{ names.redshift.schema }}.funnel_daily
WHERE {{ rebuilt_days(ti, 'funnel_daily') }}
