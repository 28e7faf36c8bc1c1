-- What:   the 20 products that are put into the cart most often for a view; 10 views or more.
-- Grain:  one product from {{ first_date }} to {{ last_date }}, both included.
-- Source: product_performance_daily, dim_products; the same text runs in Athena and in Redshift.
SELECT
    performance.product_id,
    max(products.product_name) AS product_name,
    max(products.category) AS category,
    sum(performance.view_count) AS view_count,
    sum(performance.add_to_cart_count) AS add_to_cart_count,
    sum(performance.purchase_count) AS purchase_count,
    sum(performance.quantity) AS quantity,
    sum(performance.revenue) AS revenue,
    round(
        1e0 * sum(performance.add_to_cart_count) / sum(performance.view_count), 4
    ) AS view_to_cart_rate
FROM {{ names.glue.database }}.product_performance_daily AS performance
LEFT JOIN {{ names.glue.database }}.dim_products AS products ON performance.product_id = products.product_id
WHERE performance.day BETWEEN '{{ first_date }}' AND '{{ last_date }}'
GROUP BY performance.product_id
HAVING sum(performance.view_count) >= 10
ORDER BY view_to_cart_rate DESC, performance.product_id ASC
LIMIT 20
