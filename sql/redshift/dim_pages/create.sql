-- What:   every page of a step between pages.
-- Grain:  one page.
-- Source: lake.dim_pages.
CREATE TABLE IF NOT EXISTS {{ names.redshift.schema }}.dim_pages (
    page VARCHAR(65535) NOT NULL,
    first_seen_date DATE NOT NULL,
    last_seen_date DATE NOT NULL,
    view_count BIGINT NOT NULL,
    entry_count BIGINT NOT NULL,
    exit_count BIGINT NOT NULL
)
-- ALL while it is small, then spread by Redshift itself: clients name pages as they like.
DISTSTYLE AUTO
SORTKEY (page)
