-- What:   the members that the run's event hours add or change, computed over all their events, so
--         that the order of loads does not matter. MERGE takes a table only, no subquery.
-- Grain:  one identity. Source: fact_clicks as this load leaves it.
CREATE TEMP TABLE dim_users_staged AS
WITH changed AS (
    SELECT DISTINCT coalesce(user_id, anonymous_id) AS user_key
    FROM {{ names.redshift.schema }}.fact_clicks
    WHERE {{ touched_hours(ti) }}
),

clicks AS (
    SELECT
        coalesce(user_id, anonymous_id) AS user_key,
        user_id,
        event_timestamp,
        event_type
    FROM {{ names.redshift.schema }}.fact_clicks
)

SELECT
    clicks.user_key,
    max(clicks.user_id) IS NULL AS is_anonymous,
    min(clicks.event_timestamp) AS first_seen_at,
    max(clicks.event_timestamp) AS last_seen_at,
    count(*) AS event_count,
    sum(CASE WHEN clicks.event_type = 'purchase' THEN 1 ELSE 0 END) AS purchase_count
FROM clicks
LEFT JOIN changed ON clicks.user_key = changed.user_key
LEFT JOIN {{ names.redshift.schema }}.dim_users AS users ON clicks.user_key = users.user_key
WHERE changed.user_key IS NOT NULL OR users.user_key IS NULL
GROUP BY clicks.user_key
