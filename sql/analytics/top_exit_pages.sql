-- What:   the 20 pages on which most sessions end, and which part of the steps to them is the last.
-- Grain:  one page from {{ first_date }} to {{ last_date }}, both included; robots left out.
-- Source: page_paths_daily; the same text runs in Athena and in Redshift.
WITH steps AS (
    SELECT
        to_page AS page,
        transition_count AS step_count,
        0 AS exit_count
    FROM {{ names.glue.database }}.page_paths_daily
    WHERE
        to_page <> '(exit)'
        AND day BETWEEN '{{ first_date }}' AND '{{ last_date }}'
    UNION ALL
    SELECT
        from_page AS page,
        0 AS step_count,
        transition_count AS exit_count
    FROM {{ names.glue.database }}.page_paths_daily
    WHERE
        to_page = '(exit)'
        AND day BETWEEN '{{ first_date }}' AND '{{ last_date }}'
)

SELECT
    page,
    sum(step_count) AS step_count,
    sum(exit_count) AS exit_count,
    round(1e0 * sum(exit_count) / nullif(sum(step_count), 0), 4) AS exit_rate
FROM steps
GROUP BY page
ORDER BY exit_count DESC, page ASC
LIMIT 20
