-- What:   second half of the load: the snapshot comes in from the lake, through Spectrum.
-- Grain:  one user_key.
-- Source: lake.dim_users.
INSERT INTO {{ names.redshift.schema }}.dim_users (
    user_key,
    person_key,
    is_anonymous,
    is_bot,
    first_seen_at,
    last_seen_at,
    active_day_count,
    event_count,
    session_count,
    order_count,
    revenue
)
SELECT
    user_key,
    person_key,
    is_anonymous,
    is_bot,
    first_seen_at,
    last_seen_at,
    active_day_count,
    event_count,
    session_count,
    order_count,
    revenue
FROM {{ names.redshift.lake_schema }}.dim_users
