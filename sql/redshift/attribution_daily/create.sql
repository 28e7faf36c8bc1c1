-- What:   orders and revenue, handed out to the sources that led to them.
-- Grain:  one day, model, channel, source, medium and campaign.
-- Source: lake.attribution_daily.
CREATE TABLE IF NOT EXISTS {{ names.redshift.schema }}.attribution_daily (
    model VARCHAR(16) NOT NULL,
    channel VARCHAR(32) NOT NULL,
    source VARCHAR(65535) NOT NULL,
    medium VARCHAR(65535) NOT NULL,
    campaign VARCHAR(65535) NOT NULL,
    order_credit DECIMAL(38, 6) NOT NULL,
    revenue DECIMAL(38, 4) NOT NULL,
    day DATE NOT NULL
)
-- Summed up, not joined: no column deserves to place the rows.
DISTSTYLE EVEN
-- Questions name a range of days: the other blocks are skipped, in the load's DELETE too. Hence a
-- DATE, where the lake has text: of text, a block's range holds 8 bytes, which is the month.
SORTKEY (day)
