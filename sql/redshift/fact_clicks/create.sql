-- What:   every accepted event, a copy of the lake's table for fast joins and dashboards.
-- Grain:  one event: (event_id, event_timestamp).
-- Source: lake.fact_clicks. Text is as the client sent it, hence as wide as the lake's.
CREATE TABLE IF NOT EXISTS {{ names.redshift.schema }}.fact_clicks (
    event_id VARCHAR(65535) NOT NULL,
    is_event_id_derived BOOLEAN NOT NULL,
    event_type VARCHAR(65535) NOT NULL,
    event_category VARCHAR(16) NOT NULL,
    event_timestamp TIMESTAMP NOT NULL,
    user_id VARCHAR(65535),
    anonymous_id VARCHAR(65535),
    session_id VARCHAR(65535),
    page VARCHAR(65535),
    page_url VARCHAR(65535),
    referrer_url VARCHAR(65535),
    product_id VARCHAR(65535),
    device_type VARCHAR(65535),
    browser VARCHAR(65535),
    location VARCHAR(65535),
    user_type VARCHAR(65535),
    price DECIMAL(18, 4),
    quantity INTEGER,
    currency VARCHAR(65535),
    order_id VARCHAR(65535),
    agent_browser VARCHAR(65535),
    agent_os VARCHAR(65535),
    agent_device VARCHAR(65535),
    is_bot BOOLEAN NOT NULL,
    is_clock_skewed BOOLEAN NOT NULL,
    metadata SUPER,
    payload_hash BIGINT NOT NULL,
    arrived_at TIMESTAMP NOT NULL,
    source_object VARCHAR(1024) NOT NULL,
    source_line BIGINT NOT NULL,
    processed_timestamp TIMESTAMP NOT NULL,
    year INTEGER NOT NULL,
    month INTEGER NOT NULL,
    day INTEGER NOT NULL,
    hour INTEGER NOT NULL
)
-- user_id is null for anonymous traffic, which would all sit on one slice; event_id never is.
DISTKEY (event_id)
-- In this order year, month, day and hour cluster too, so the load's DELETE skips other blocks.
SORTKEY (event_timestamp)
