-- What:   users, sessions, engagement, bounces, conversion, orders and revenue of every day.
-- Grain:  one UTC day from {{ first_date }} to {{ last_date }}, both included; robots left out.
-- Source: engagement_daily; the same text runs in Athena and in Redshift.
SELECT
    cast(day AS DATE) AS event_date,
    event_count,
    view_count,
    user_count,
    session_count,
    order_count,
    revenue,
    round(engaged_rate, 4) AS engaged_rate,
    round(bounce_rate, 4) AS bounce_rate,
    round(conversion_rate, 4) AS conversion_rate
FROM {{ names.glue.database }}.engagement_daily
WHERE day BETWEEN '{{ first_date }}' AND '{{ last_date }}'
ORDER BY event_date
