-- What:   how many users are active, and how much each does; robots left out.
-- Grain:  one UTC day from {{ first_date }} to {{ last_date }}, both included.
-- Source: users_daily; the same text runs in Athena and in Redshift.
SELECT
    cast(day AS DATE) AS event_date,
    count(*) AS active_user_count,
    sum(CASE WHEN is_anonymous THEN 0 ELSE 1 END) AS known_user_count,
    sum(event_count - robot_event_count) AS event_count
FROM {{ names.glue.database }}.users_daily
WHERE
    event_count > robot_event_count
    AND day BETWEEN '{{ first_date }}' AND '{{ last_date }}'
GROUP BY day
ORDER BY event_date
