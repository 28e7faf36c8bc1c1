-- What:   which part of the events is robots' (events in their sessions), and how many users are robots.
-- Grain:  one UTC day from {{ first_date }} to {{ last_date }}, both included.
-- Source: users_daily; the same text runs in Athena and in Redshift.
SELECT
    cast(day AS DATE) AS event_date,
    sum(event_count) AS event_count,
    sum(robot_event_count) AS robot_event_count,
    round(1e0 * sum(robot_event_count) / nullif(sum(event_count), 0), 4) AS robot_event_rate,
    count(*) AS user_count,
    sum(CASE WHEN event_count > robot_event_count THEN 0 ELSE 1 END) AS robot_count
FROM {{ names.glue.database }}.users_daily
WHERE day BETWEEN '{{ first_date }}' AND '{{ last_date }}'
GROUP BY day
ORDER BY event_date
