-- What:   whoever clicked: a known user, else an anonymous browser.
-- Grain:  one identity: user_id, else anonymous_id.
-- Source: fact_clicks.
CREATE TABLE IF NOT EXISTS {{ names.redshift.schema }}.dim_users (
    user_key VARCHAR(65535) NOT NULL,
    is_anonymous BOOLEAN NOT NULL,
    first_seen_at TIMESTAMP NOT NULL,
    last_seen_at TIMESTAMP NOT NULL,
    event_count BIGINT NOT NULL,
    purchase_count BIGINT NOT NULL
)
-- ALL while it is small, then spread by Redshift itself.
DISTSTYLE AUTO
SORTKEY (user_key)
