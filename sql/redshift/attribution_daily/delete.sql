-- What:   first half of the load: the days that the run has rebuilt leave the warehouse.
-- Grain:  one day, model, channel, source, medium and campaign.
-- Source: model_runs' rebuilt days; the same days are inserted next, in the same transaction.
DELETE FROM {{ names.redshift.schema }}.attribution_daily
WHERE {{ rebuilt_days(ti, 'attribution_daily') }}
