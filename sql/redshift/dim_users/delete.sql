-- What:   forgets the identities of the run's event hours, before those hours are replaced; whoever
--         still has an event comes back with stage.sql, and nobody stays who has none any more.
-- Grain:  one identity. Source: fact_clicks as the last load left it.
DELETE FROM {{ names.redshift.schema }}.dim_users
WHERE user_key IN (
    SELECT coalesce(clicks.user_id, clicks.anonymous_id)
    FROM {{ names.redshift.schema }}.fact_clicks AS clicks
    WHERE {{ touched_hours(ti) }}
)
