-- What:   first half of the load: the days that the run has rebuilt leave the warehouse.
-- Grain:  one user_key on one day on which it has an event.
-- Source: model_runs' rebuilt days; the same days are inserted next, in the same transaction.
DELETE FROM {{ names.redshift.schema }}.users_daily
WHERE {{ rebuilt_days(ti, 'users_daily') }}
