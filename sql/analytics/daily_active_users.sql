-- What:   how many people are active, and how much each does.
-- Grain:  one UTC day from {{ first_date }} to {{ last_date }}, both included; robots left out.
-- Source: fact_clicks; the same text runs in Athena and in Redshift.
SELECT
    cast(event_timestamp AS DATE) AS event_date,
    count(DISTINCT coalesce(user_id, anonymous_id)) AS active_user_count,
    count(DISTINCT user_id) AS known_user_count,
    count(*) AS event_count
FROM {{ names.glue.database }}.fact_clicks
WHERE
    NOT is_bot
    AND year * 10000 + month * 100 + day
    BETWEEN {{ first_date | replace('-', '') }} AND {{ last_date | replace('-', '') }}
GROUP BY cast(event_timestamp AS DATE)
ORDER BY event_date
