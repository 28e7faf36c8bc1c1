-- What:   what each channel is worth in each model of attribution, side by side.
-- Grain:  one channel from {{ first_date }} to {{ last_date }}, both included (days of converted sessions).
-- Source: attribution_daily; the same text runs in Athena and in Redshift.
SELECT
    channel,
    sum(CASE WHEN model = 'first_touch' THEN order_credit ELSE 0 END) AS first_touch_order_credit,
    sum(CASE WHEN model = 'last_non_direct' THEN order_credit ELSE 0 END) AS last_non_direct_order_credit,
    sum(CASE WHEN model = 'linear' THEN order_credit ELSE 0 END) AS linear_order_credit,
    sum(CASE WHEN model = 'position_based' THEN order_credit ELSE 0 END) AS position_based_order_credit,
    sum(CASE WHEN model = 'first_touch' THEN revenue ELSE 0 END) AS first_touch_revenue,
    sum(CASE WHEN model = 'last_non_direct' THEN revenue ELSE 0 END) AS last_non_direct_revenue,
    sum(CASE WHEN model = 'linear' THEN revenue ELSE 0 END) AS linear_revenue,
    sum(CASE WHEN model = 'position_based' THEN revenue ELSE 0 END) AS position_based_revenue
FROM {{ names.glue.database }}.attribution_daily
WHERE day BETWEEN '{{ first_date }}' AND '{{ last_date }}'
GROUP BY channel
ORDER BY linear_revenue DESC, channel ASC
