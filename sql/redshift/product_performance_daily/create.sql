-- What:   what happened to every product, day by day, robots left out.
-- Grain:  one product on one day on which an event names it.
-- Source: lake.product_performance_daily.
CREATE TABLE IF NOT EXISTS {{ names.redshift.schema }}.product_performance_daily (
    product_id VARCHAR(65535) NOT NULL,
    product_name VARCHAR(65535),
    category VARCHAR(65535),
    price DECIMAL(18, 4),
    view_count BIGINT NOT NULL,
    click_count BIGINT NOT NULL,
    add_to_cart_count BIGINT NOT NULL,
    remove_from_cart_count BIGINT NOT NULL,
    purchase_count BIGINT NOT NULL,
    quantity BIGINT NOT NULL,
    revenue DECIMAL(38, 4) NOT NULL,
    viewer_count BIGINT NOT NULL,
    buyer_count BIGINT NOT NULL,
    first_event_at TIMESTAMP NOT NULL,
    last_event_at TIMESTAMP NOT NULL,
    day DATE NOT NULL
)
-- A product's days lie together: sums by product stay on the node.
DISTKEY (product_id)
-- Questions name a range of days: the other blocks are skipped, in the load's DELETE too. Hence a
-- DATE, where the lake has text: of text, a block's range holds 8 bytes, which is the month.
SORTKEY (day)
