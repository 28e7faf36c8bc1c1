-- What:   second half of the load: the days that the run has rebuilt come in from the lake.
-- Grain:  one user_key on one day on which it has an event.
-- Source: lake.users_daily.
INSERT INTO {{ names.redshift.schema }}.users_daily (
    user_key,
    is_anonymous,
    event_count,
    robot_event_count,
    session_count,
    order_count,
    revenue,
    first_event_at,
    last_event_at,
    day
)
SELECT
    user_key,
    is_anonymous,
    event_count,
    robot_event_count,
    session_count,
    order_count,
    revenue,
    first_event_at,
    last_event_at,
    cast(day AS DATE) AS day
FROM {{ names.redshift.lake_schema }}.users_daily
WHERE {{ rebuilt_days(ti, 'users_daily') }}
