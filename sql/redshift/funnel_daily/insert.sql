-- What:   second half of the load: the days that the run has rebuilt come in from the lake.
-- Grain:  one day, device_type, channel and country.
-- Source: lake.funnel_daily.
INSERT INTO {{ names.redshift.schema }}.funnel_daily (
    device_type,
    channel,
    country,
    session_count,
    viewed_count,
    carted_count,
    checkout_count,
    purchased_count,
    day
)
SELECT
    device_type,
    channel,
    country,
    session_count,
    viewed_count,
    carted_count,
    checkout_count,
    purchased_count,
    cast(day AS DATE) AS day
FROM {{ names.redshift.lake_schema }}.funnel_daily
WHERE {{ rebuilt_days(ti, 'funnel_daily') }}
