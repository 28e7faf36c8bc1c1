-- What:   how many sessions with a full cart end without a purchase.
-- Grain:  one UTC day from {{ first_date }} to {{ last_date }}, both included.
-- Source: funnel_daily; the same text runs in Athena and in Redshift.
WITH carts AS (
    SELECT
        day,
        sum(carted_count) AS carted_count,
        sum(checkout_count) AS checkout_count,
        sum(purchased_count) AS purchased_count
    FROM {{ names.glue.database }}.funnel_daily
    WHERE day BETWEEN '{{ first_date }}' AND '{{ last_date }}'
    GROUP BY day
)

SELECT
    cast(day AS DATE) AS session_date,
    carted_count,
    checkout_count,
    purchased_count,
    round(1e0 * (carted_count - purchased_count) / nullif(carted_count, 0), 4) AS cart_abandonment_rate,
    round(
        1e0 * (checkout_count - purchased_count) / nullif(checkout_count, 0), 4
    ) AS checkout_abandonment_rate
FROM carts
ORDER BY session_date
