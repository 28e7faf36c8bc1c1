-- What:   what people do: events, ids and share of all events by type; events of robots' agents left out.
-- Grain:  one event type over {{ first_date }} to {{ last_date }} (UTC, both included).
-- Source: fact_clicks; the same text runs in Athena and in Redshift.
SELECT
    event_type,
    event_category,
    count(*) AS event_count,
    count(DISTINCT coalesce(user_id, anonymous_id)) AS id_count,
    round(1e2 * count(*) / sum(count(*)) OVER (), 2) AS event_percent
FROM {{ names.glue.database }}.fact_clicks
WHERE
    NOT is_bot
    AND year * 10000 + month * 100 + day
    BETWEEN {{ first_date | replace('-', '') }} AND {{ last_date | replace('-', '') }}
GROUP BY event_type, event_category
ORDER BY event_count DESC, event_type ASC
