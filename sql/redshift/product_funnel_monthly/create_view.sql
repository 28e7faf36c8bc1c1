-- What:   from a view to a purchase, product by product; robots left out.
-- Grain:  one product_id and month, from its first day.
-- Source: product_performance_daily. A catalogue's
--         pages sum up months of days of all products; sums refresh incrementally.
DROP MATERIALIZED VIEW IF EXISTS {{ names.redshift.schema }}.product_funnel_monthly;

CREATE MATERIALIZED VIEW {{ names.redshift.schema }}.product_funnel_monthly
DISTKEY (product_id)
SORTKEY (month_date)
AUTO REFRESH NO
AS
SELECT
    product_id,
    cast(date_trunc('month', day) AS DATE) AS month_date,
    sum(view_count) AS view_count,
    sum(click_count) AS click_count,
    sum(add_to_cart_count) AS add_to_cart_count,
    sum(remove_from_cart_count) AS remove_from_cart_count,
    sum(purchase_count) AS purchase_count,
    sum(quantity) AS quantity,
    sum(revenue) AS revenue
FROM {{ names.redshift.schema }}.product_performance_daily
GROUP BY product_id, cast(date_trunc('month', day) AS DATE);
