-- What:   the rows that a run's quality checks look at: every day the run has rebuilt.
-- Grain:  one hour with an event: hour_at.
-- Source: engagement_hourly.
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
    day AS partition_day,
    cast(cast(hour_at AS DATE) AS VARCHAR) AS row_day
FROM {{ names.glue.database }}.engagement_hourly
WHERE {{ rebuilt_days }}
