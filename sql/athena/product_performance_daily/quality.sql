-- What:   the rows that a run's quality checks look at: every day the run has rebuilt.
-- Grain:  one product on one day on which an event names it.
-- Source: product_performance_daily and dim_products.
WITH products AS (
    SELECT
        product_id,
        price,
        view_count,
        click_count,
        add_to_cart_count,
        remove_from_cart_count,
        purchase_count,
        quantity,
        revenue,
        viewer_count,
        buyer_count,
        first_event_at,
        last_event_at,
        day AS partition_day,
        cast(cast(first_event_at AS DATE) AS VARCHAR) AS row_day
    FROM {{ names.glue.database }}.product_performance_daily
    WHERE {{ rebuilt_days }}
)

SELECT
    products.product_id,
    products.price,
    products.view_count,
    products.click_count,
    products.add_to_cart_count,
    products.remove_from_cart_count,
    products.purchase_count,
    products.quantity,
    products.revenue,
    products.viewer_count,
    products.buyer_count,
    products.first_event_at,
    products.last_event_at,
    products.partition_day,
    products.row_day,
    CASE WHEN members.product_id IS NULL THEN 1 ELSE 0 END AS product_orphan
FROM products
LEFT JOIN {{ names.glue.database }}.dim_products AS members ON products.product_id = members.product_id
