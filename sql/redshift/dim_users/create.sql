-- What:   whoever has an event, and the person it belongs to.
-- Grain:  one user_key.
-- Source: lake.dim_users.
CREATE TABLE IF NOT EXISTS {{ names.redshift.schema }}.dim_users (
    user_key VARCHAR(65535) NOT NULL,
    person_key VARCHAR(65535) NOT NULL,
    is_anonymous BOOLEAN NOT NULL,
    is_bot BOOLEAN NOT NULL,
    first_seen_at TIMESTAMP NOT NULL,
    last_seen_at TIMESTAMP NOT NULL,
    active_day_count BIGINT NOT NULL,
    event_count BIGINT NOT NULL,
    session_count BIGINT NOT NULL,
    order_count BIGINT NOT NULL,
    revenue DECIMAL(38, 4) NOT NULL
)
-- As many rows as users, too many to copy: beside the user's sessions and days.
DISTKEY (user_key)
SORTKEY (user_key)
