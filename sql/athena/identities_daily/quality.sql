-- What:   the rows that a run's quality checks look at: every day the run has rebuilt.
-- Grain:  one anonymous_id on one day on which it is known.
-- Source: identities_daily.
SELECT
    anonymous_id,
    user_id,
    known_at,
    day AS partition_day,
    cast(cast(known_at AS DATE) AS VARCHAR) AS row_day
FROM {{ names.glue.database }}.identities_daily
WHERE {{ rebuilt_days }}
