-- What:   second half of the load: the days that the run has rebuilt come in from the lake.
-- Grain:  one hour with an event: hour_at.
-- Source: lake.engagement_hourly.
INSERT INTO {{ names.redshift.schema }}.engagement_hourly (
    hour_at,
    event_count,
    view_count,
    user_count,
    session_count,
    engaged_session_count,
    bounce_count,
    converted_session_count,
    engaged_rate,
    bounce_rate,
    conversion_rate,
    order_count,
    revenue,
    day
)
SELECT
    hour_at,
    event_count,
    view_count,
    user_count,
    session_count,
    engaged_session_count,
    bounce_count,
    converted_session_count,
    engaged_rate,
    bounce_rate,
    conversion_rate,
    order_count,
    revenue,
    cast(day AS DATE) AS day
FROM {{ names.redshift.lake_schema }}.engagement_hourly
WHERE {{ rebuilt_days(ti, 'engagement_hourly') }}
