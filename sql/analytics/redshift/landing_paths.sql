-- What:   the 50 ways that sessions take most after their landing page; (exit) where a session ends.
-- Grain:  a landing page and the two after it, from {{ first_date }} to {{ last_date }}; robots left out.
-- Source: fact_sessions; a SUPER is read in Redshift's words; Athena's are in landing_paths.sql.
WITH paths AS (
    SELECT
        entry_page,
        is_converted,
        coalesce(cast(page_path[1] AS VARCHAR(65535)), '(exit)') AS second_page,
        coalesce(cast(page_path[2] AS VARCHAR(65535)), '(exit)') AS third_page
    FROM {{ names.glue.database }}.fact_sessions
    WHERE
        NOT is_bot
        AND entry_page IS NOT NULL
        AND year * 10000 + month * 100 + day
        BETWEEN {{ first_date | replace('-', '') }} AND {{ last_date | replace('-', '') }}
)

SELECT
    entry_page,
    second_page,
    third_page,
    count(*) AS session_count,
    sum(CASE WHEN is_converted THEN 1 ELSE 0 END) AS converted_session_count
FROM paths
GROUP BY entry_page, second_page, third_page
ORDER BY session_count DESC, entry_page ASC, second_page ASC, third_page ASC
LIMIT 50
