-- What:   the 50 steps from page to page that are taken most, entries and exits among them.
-- Grain:  one from_page and to_page from {{ first_date }} to {{ last_date }}, both included; robots left out.
-- Source: page_paths_daily; the same text runs in Athena and in Redshift.
WITH steps AS (
    SELECT
        from_page,
        to_page,
        sum(transition_count) AS transition_count
    FROM {{ names.glue.database }}.page_paths_daily
    WHERE day BETWEEN '{{ first_date }}' AND '{{ last_date }}'
    GROUP BY from_page, to_page
)

SELECT
    from_page,
    to_page,
    transition_count,
    round(
        1e0 * transition_count
        / nullif(sum(transition_count) OVER (PARTITION BY from_page), 0),
        4
    ) AS share_of_from_page
FROM steps
ORDER BY transition_count DESC, from_page ASC, to_page ASC
LIMIT 50
