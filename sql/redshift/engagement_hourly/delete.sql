-- What:   first half of the load: the days that the run has rebuilt leave the warehouse.
-- Grain:  one hour with an event: hour_at.
-- Source: model_runs' rebuilt days; the same days are inserted next, in the same transaction.
DELETE FROM {{ names.redshift.schema }}.engagement_hourly
WHERE {{ rebuilt_days(ti, 'engagement_hourly') }}
