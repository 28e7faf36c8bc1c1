-- What:   second half of the load: the snapshot comes in from the lake, through Spectrum.
-- Grain:  one page.
-- Source: lake.dim_pages.
INSERT INTO {{ names.redshift.schema }}.dim_pages (
    page,
    first_seen_date,
    last_seen_date,
    view_count,
    entry_count,
    exit_count
)
SELECT
    page,
    first_seen_date,
    last_seen_date,
    view_count,
    entry_count,
    exit_count
FROM {{ names.redshift.lake_schema }}.dim_pages
