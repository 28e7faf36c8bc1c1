-- What:   first half of the load: the days that the run has rebuilt leave the warehouse.
-- Grain:  one day with an event: day.
-- Source: model_runs' rebuilt days; the same days are inserted next, in the same transaction.
DELETE FROM {{ names.redshift.schema }}.engagement_daily
WHERE {{ rebuilt_days(ti, 'engagement_daily') }}
