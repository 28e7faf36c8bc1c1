-- What:   the 20 pages on which most sessions begin, and how many end right there.
-- Grain:  one entry page from {{ first_date }} to {{ last_date }}, both included; robots left out.
-- Source: fact_sessions; the same text runs in Athena and in Redshift.
SELECT
    entry_page,
    count(*) AS session_count,
    sum(CASE WHEN is_bounce THEN 1 ELSE 0 END) AS bounce_count,
    round(1e0 * sum(CASE WHEN is_bounce THEN 1 ELSE 0 END) / count(*), 4) AS bounce_rate,
    round(1e0 * sum(CASE WHEN is_converted THEN 1 ELSE 0 END) / count(*), 4) AS conversion_rate
FROM {{ names.glue.database }}.fact_sessions
WHERE
    NOT is_bot
    AND entry_page IS NOT NULL
    AND year * 10000 + month * 100 + day
    BETWEEN {{ first_date | replace('-', '') }} AND {{ last_date | replace('-', '') }}
GROUP BY entry_page
ORDER BY session_count DESC, entry_page ASC
LIMIT 20
