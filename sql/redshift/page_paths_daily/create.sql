-- What:   steps from page to page, entries and exits among them, robots left out.
-- Grain:  one day, from_page and to_page.
-- Source: lake.page_paths_daily.
CREATE TABLE IF NOT EXISTS {{ names.redshift.schema }}.page_paths_daily (
    from_page VARCHAR(65535) NOT NULL,
    to_page VARCHAR(65535) NOT NULL,
    transition_count BIGINT NOT NULL,
    day DATE NOT NULL
)
-- Summed up, not joined: no column deserves to place the rows.
DISTSTYLE EVEN
-- Questions name a range of days: the other blocks are skipped, in the load's DELETE too. Hence a
-- DATE, where the lake has text: of text, a block's range holds 8 bytes, which is the month.
SORTKEY (day)
