-- What:   how many buyers order again, and what they bring.
-- Grain:  one row for persons from {{ first_date }} to {{ last_date }}; a person's users count as one.
-- Source: users_daily, dim_users; the same text runs in Athena and in Redshift.
WITH buyers AS (
    SELECT
        members.person_key,
        sum(active.order_count) AS order_count,
        sum(active.revenue) AS revenue
    FROM {{ names.glue.database }}.users_daily AS active
    INNER JOIN {{ names.glue.database }}.dim_users AS members ON active.user_key = members.user_key
    WHERE
        active.order_count > 0
        AND active.day BETWEEN '{{ first_date }}' AND '{{ last_date }}'
    GROUP BY members.person_key
)

SELECT
    count(*) AS buyer_count,
    sum(CASE WHEN order_count > 1 THEN 1 ELSE 0 END) AS repeat_buyer_count,
    round(
        1e0 * sum(CASE WHEN order_count > 1 THEN 1 ELSE 0 END) / nullif(count(*), 0), 4
    ) AS repeat_purchase_rate,
    sum(order_count) AS order_count,
    sum(revenue) AS revenue,
    sum(CASE WHEN order_count > 1 THEN revenue ELSE 0 END) AS repeat_buyer_revenue
FROM buyers
