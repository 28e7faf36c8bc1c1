-- What:   events, DAU, WAU, MAU, sessions, orders and rates of every day, robots left out.
-- Grain:  one day with an event: day.
-- Source: lake.engagement_daily.
CREATE TABLE IF NOT EXISTS {{ names.redshift.schema }}.engagement_daily (
    event_count BIGINT NOT NULL,
    view_count BIGINT NOT NULL,
    user_count BIGINT NOT NULL,
    weekly_user_count BIGINT NOT NULL,
    monthly_user_count BIGINT NOT NULL,
    session_count BIGINT NOT NULL,
    engaged_session_count BIGINT NOT NULL,
    bounce_count BIGINT NOT NULL,
    converted_session_count BIGINT NOT NULL,
    engaged_rate DOUBLE PRECISION,
    bounce_rate DOUBLE PRECISION,
    conversion_rate DOUBLE PRECISION,
    order_count BIGINT NOT NULL,
    revenue DECIMAL(38, 4) NOT NULL,
    day DATE NOT NULL
)
-- One row a day: a copy on every node.
DISTSTYLE ALL
-- Questions name a range of days: the other blocks are skipped, in the load's DELETE too. Hence a
-- DATE, where the lake has text: of text, a block's range holds 8 bytes, which is the month.
SORTKEY (day)
