-- What:   how far sessions came, from a view to a purchase, robots left out.
-- Grain:  one day, device_type, channel and country.
-- Source: lake.funnel_daily.
CREATE TABLE IF NOT EXISTS {{ names.redshift.schema }}.funnel_daily (
    device_type VARCHAR(65535) NOT NULL,
    channel VARCHAR(32) NOT NULL,
    country VARCHAR(65535) NOT NULL,
    session_count BIGINT NOT NULL,
    viewed_count BIGINT NOT NULL,
    carted_count BIGINT NOT NULL,
    checkout_count BIGINT NOT NULL,
    purchased_count BIGINT NOT NULL,
    day DATE NOT NULL
)
-- Summed up, not joined: no column deserves to place the rows.
DISTSTYLE EVEN
-- Questions name a range of days: the other blocks are skipped, in the load's DELETE too. Hence a
-- DATE, where the lake has text: of text, a block's range holds 8 bytes, which is the month.
SORTKEY (day)
