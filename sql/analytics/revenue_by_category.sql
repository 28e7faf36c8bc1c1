-- What:   what each category of products sells.
-- Grain:  one category from {{ first_date }} to {{ last_date }}, both included.
-- Source: product_performance_daily, dim_products; the same text runs in Athena and in Redshift.
SELECT
    coalesce(products.category, '(not set)') AS category,
    count(DISTINCT performance.product_id) AS product_count,
    sum(performance.view_count) AS view_count,
    sum(performance.purchase_count) AS purchase_count,
    sum(performance.quantity) AS quantity,
    sum(performance.revenue) AS revenue
FROM {{ names.glue.database }}.product_performance_daily AS performance
LEFT JOIN {{ names.glue.database }}.dim_products AS products ON performance.product_id = products.product_id
WHERE performance.day BETWEEN '{{ first_date }}' AND '{{ last_date }}'
GROUP BY coalesce(products.category, '(not set)')
ORDER BY revenue DESC, category ASC
