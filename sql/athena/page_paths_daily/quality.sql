-- What:   the rows that a run's quality checks look at: every day the run has rebuilt.
-- Grain:  one day, from_page and to_page.
-- Source: page_paths_daily and dim_pages.
WITH steps AS (
    SELECT
        from_page,
        to_page,
        transition_count,
        day AS partition_day
    FROM {{ names.glue.database }}.page_paths_daily
    WHERE {{ rebuilt_days }}
)

SELECT
    steps.from_page,
    steps.to_page,
    steps.transition_count,
    steps.partition_day,
    CASE
        WHEN
            (steps.from_page <> '(entry)' AND sources.page IS NULL)
            OR (steps.to_page <> '(exit)' AND targets.page IS NULL)
            THEN 1
        ELSE 0
    END AS page_orphan
FROM steps
LEFT JOIN {{ names.glue.database }}.dim_pages AS sources ON steps.from_page = sources.page
LEFT JOIN {{ names.glue.database }}.dim_pages AS targets ON steps.to_page = targets.page
