-- What:   orders, revenue and the average order's value; orders in a foreign currency have none.
-- Grain:  one UTC day on which sessions began, from {{ first_date }} to {{ last_date }}, both included.
-- Source: fact_sessions; the same text runs in Athena and in Redshift.
SELECT
    cast(started_at AS DATE) AS session_date,
    sum(order_count) AS order_count,
    sum(foreign_order_count) AS foreign_order_count,
    sum(revenue) AS revenue,
    round(1e0 * sum(revenue) / nullif(sum(order_count - foreign_order_count), 0), 2) AS average_order_value
FROM {{ names.glue.database }}.fact_sessions
WHERE
    NOT is_bot
    AND year * 10000 + month * 100 + day
    BETWEEN {{ first_date | replace('-', '') }} AND {{ last_date | replace('-', '') }}
GROUP BY cast(started_at AS DATE)
ORDER BY session_date
