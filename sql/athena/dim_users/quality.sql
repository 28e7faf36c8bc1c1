-- What:   the rows that a run's quality checks look at: the whole snapshot.
-- Grain:  one user_key.
-- Source: dim_users; a person is one of its users.
SELECT
    members.user_key,
    members.person_key,
    members.first_seen_at,
    members.last_seen_at,
    members.active_day_count,
    members.event_count,
    members.session_count,
    members.order_count,
    members.revenue,
    CASE WHEN persons.user_key IS NULL THEN 1 ELSE 0 END AS person_orphan
FROM {{ names.glue.database }}.dim_users AS members
LEFT JOIN {{ names.glue.database }}.dim_users AS persons ON members.person_key = persons.user_key
