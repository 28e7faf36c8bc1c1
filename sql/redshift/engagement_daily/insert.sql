-- What:   second half of the load: the days that the run has rebuilt come in from the lake.
-- Grain:  one day with an event: day.
-- Source: lake.engagement_daily.
INSERT INTO {{ names.redshift.schema }}.engagement_daily (
    event_count,
    view_count,
    user_count,
    weekly_user_count,
    monthly_user_count,
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
    event_count,
    view_count,
    user_count,
    weekly_user_count,
    monthly_user_count,
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
FROM {{ names.redshift.lake_schema }}.engagement_daily
WHERE {{ rebuilt_days(ti, 'engagement_daily') }}
