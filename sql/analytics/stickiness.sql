-- What:   DAU, WAU and MAU, and which part of a month's users come on a day (DAU by MAU).
-- Grain:  one UTC day from {{ first_date }} to {{ last_date }}, both included.
-- Source: engagement_daily; the same text runs in Athena and in Redshift.
SELECT
    cast(day AS DATE) AS event_date,
    user_count AS daily_user_count,
    weekly_user_count,
    monthly_user_count,
    round(1e0 * user_count / nullif(weekly_user_count, 0), 4) AS weekly_stickiness_rate,
    round(1e0 * user_count / nullif(monthly_user_count, 0), 4) AS monthly_stickiness_rate
FROM {{ names.glue.database }}.engagement_daily
WHERE day BETWEEN '{{ first_date }}' AND '{{ last_date }}'
ORDER BY event_date
