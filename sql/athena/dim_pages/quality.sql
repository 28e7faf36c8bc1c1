-- What:   the rows that a run's quality checks look at: the whole snapshot.
-- Grain:  one page.
-- Source: dim_pages.
SELECT
    page,
    first_seen_date,
    last_seen_date,
    view_count,
    entry_count,
    exit_count
FROM {{ names.glue.database }}.dim_pages
