-- What:   every session: a user's events without a pause of 30 minutes.
-- Grain:  one session: session_id.
-- Source: glue/build_model.py, by the day (UTC) of the session's start.
CREATE EXTERNAL TABLE IF NOT EXISTS {{ names.glue.database }}.fact_sessions (
    session_id STRING,
    client_session_id STRING,
    user_key STRING,
    user_id STRING,
    anonymous_id STRING,
    started_at TIMESTAMP,
    ended_at TIMESTAMP,
    duration_seconds DOUBLE,
    event_count BIGINT,
    view_count BIGINT,
    click_count BIGINT,
    entry_page STRING,
    exit_page STRING,
    page_path ARRAY<STRING>,
    source STRING,
    medium STRING,
    campaign STRING,
    channel STRING,
    source_key STRING,
    device_type STRING,
    browser STRING,
    agent_browser STRING,
    agent_os STRING,
    agent_device STRING,
    device_key STRING,
    location STRING,
    country STRING,
    is_bot BOOLEAN,
    is_new_user BOOLEAN,
    is_engaged BOOLEAN,
    is_bounce BOOLEAN,
    is_converted BOOLEAN,
    funnel_step INT,
    order_count BIGINT,
    foreign_order_count BIGINT,
    revenue DECIMAL(38, 4)
)
PARTITIONED BY (year INT, month INT, day INT)
STORED AS PARQUET -- noqa: PRS
LOCATION 's3://{{ names.buckets.processed }}/{{ names.prefixes.lake }}fact_sessions/'
TBLPROPERTIES ('parquet.compression' = 'ZSTD')
