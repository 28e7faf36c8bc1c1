-- What:   the rows that a run's quality checks look at: every day the run has rebuilt.
-- Grain:  one day with an event: day.
-- Source: engagement_daily.
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
    day AS partition_day
FROM {{ names.glue.database }}.engagement_daily
WHERE {{ rebuilt_days }}
