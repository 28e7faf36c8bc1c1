-- What:   the rows that a run's quality checks look at: every day the run has rebuilt.
-- Grain:  one day, device_type, channel and country.
-- Source: funnel_daily.
SELECT
    device_type,
    channel,
    country,
    session_count,
    viewed_count,
    carted_count,
    checkout_count,
    purchased_count,
    day AS partition_day
FROM {{ names.glue.database }}.funnel_daily
WHERE {{ rebuilt_days }}
