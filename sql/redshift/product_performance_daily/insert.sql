-- What:   second half of the load: the days that the run has rebuilt come in from the lake.
-- Grain:  one product on one day on which an event names it.
-- Source: lake.product_performance_daily.
INSERT INTO {{ names.redshift.schema }}.product_performance_daily (
    product_id,
    product_name,
    category,
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
    day
)
SELECT
    product_id,
    product_name,
    category,
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
    cast(day AS DATE) AS day
FROM {{ names.redshift.lake_schema }}.product_performance_daily
WHERE {{ rebuilt_days(ti, 'product_performance_daily') }}
