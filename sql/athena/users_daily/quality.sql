-- What:   the rows that a run's quality checks look at: every day the run has rebuilt.
-- Grain:  one user_key on one day on which it has an event.
-- Source: users_daily and dim_users.
WITH users AS (
    SELECT
        user_key,
        event_count,
        robot_event_count,
        session_count,
        order_count,
        revenue,
        first_event_at,
        last_event_at,
        day AS partition_day,
        cast(cast(first_event_at AS DATE) AS VARCHAR) AS row_day
    FROM {{ names.glue.database }}.users_daily
    WHERE {{ rebuilt_days }}
)

SELECT
    users.user_key,
    users.event_count,
    users.robot_event_count,
    users.session_count,
    users.order_count,
    users.revenue,
    users.first_event_at,
    users.last_event_at,
    users.partition_day,
    users.row_day,
    CASE WHEN members.user_key IS NULL THEN 1 ELSE 0 END AS user_orphan
FROM users
LEFT JOIN {{ names.glue.database }}.dim_users AS members ON users.user_key = members.user_key
