-- What:   first half of the load: the days that the run has rebuilt leave the warehouse.
-- Grain:  one session: session_id.
-- Source: model_runs' rebuilt days; the same days are inserted next, in the same transaction.
DELETE FROM {{ names.redshift.schema }}.fact_sessions
WHERE {{ rebuilt_days(ti, 'fact_sessions') }}
