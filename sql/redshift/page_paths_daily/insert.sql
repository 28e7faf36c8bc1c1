-- What:   second half of the load: the days that the run has rebuilt come in from the lake.
-- Grain:  one day, from_page and to_page.
-- Source: lake.page_paths_daily.
INSERT INTO {{ names.redshift.schema }}.page_paths_daily (
    from_page,
    to_page,
    transition_count,
    day
)
SELECT
    from_page,
    to_page,
    transition_count,
    cast(day AS DATE) AS day
FROM {{ names.redshift.lake_schema }}.page_paths_daily
WHERE {{ rebuilt_days(ti, 'page_paths_daily') }}
