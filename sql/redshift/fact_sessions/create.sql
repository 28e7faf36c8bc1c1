-- What:   every session: a user's events without a pause of 30 minutes.
-- Grain:  one session: session_id.
-- Source: lake.fact_sessions.
CREATE TABLE IF NOT EXISTS {{ names.redshift.schema }}.fact_sessions (
    session_id VARCHAR(32) NOT NULL,
    client_session_id VARCHAR(65535),
    user_key VARCHAR(65535) NOT NULL,
    user_id VARCHAR(65535),
    anonymous_id VARCHAR(65535),
    started_at TIMESTAMP NOT NULL,
    ended_at TIMESTAMP NOT NULL,
    duration_seconds DOUBLE PRECISION NOT NULL,
    event_count BIGINT NOT NULL,
    view_count BIGINT NOT NULL,
    click_count BIGINT NOT NULL,
    entry_page VARCHAR(65535),
    exit_page VARCHAR(65535),
    page_path SUPER,
    source VARCHAR(65535) NOT NULL,
    medium VARCHAR(65535) NOT NULL,
    campaign VARCHAR(65535) NOT NULL,
    channel VARCHAR(32) NOT NULL,
    source_key VARCHAR(32) NOT NULL,
    device_type VARCHAR(65535),
    browser VARCHAR(65535),
    agent_browser VARCHAR(65535),
    agent_os VARCHAR(65535),
    agent_device VARCHAR(65535),
    device_key VARCHAR(32) NOT NULL,
    location VARCHAR(65535),
    country VARCHAR(65535),
    is_bot BOOLEAN NOT NULL,
    is_new_user BOOLEAN NOT NULL,
    is_engaged BOOLEAN NOT NULL,
    is_bounce BOOLEAN NOT NULL,
    is_converted BOOLEAN NOT NULL,
    funnel_step INTEGER NOT NULL,
    order_count BIGINT NOT NULL,
    foreign_order_count BIGINT NOT NULL,
    revenue DECIMAL(38, 4) NOT NULL,
    year INTEGER NOT NULL,
    month INTEGER NOT NULL,
    day INTEGER NOT NULL
)
-- A user's sessions lie beside its row in dim_users and its days in users_daily: joins stay on the node.
DISTKEY (user_key)
-- In this order year, month and day cluster too, so the load's DELETE skips other blocks.
SORTKEY (started_at)
