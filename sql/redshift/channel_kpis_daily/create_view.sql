-- What:   sessions, engagement, orders and revenue by channel, device and country; robots left out.
-- Grain:  one day, channel, device_type and country.
-- Source: fact_sessions. Every dashboard asks
--         this, and one pass over all sessions answers it once a load; sums refresh incrementally.
DROP MATERIALIZED VIEW IF EXISTS {{ names.redshift.schema }}.channel_kpis_daily;

CREATE MATERIALIZED VIEW {{ names.redshift.schema }}.channel_kpis_daily
DISTSTYLE EVEN
SORTKEY (session_date)
AUTO REFRESH NO
AS
SELECT
    cast(started_at AS DATE) AS session_date,
    channel,
    coalesce(device_type, '(not set)') AS device_type,
    coalesce(country, '(not set)') AS country,
    count(*) AS session_count,
    sum(CASE WHEN is_new_user THEN 1 ELSE 0 END) AS new_user_session_count,
    sum(CASE WHEN is_engaged THEN 1 ELSE 0 END) AS engaged_session_count,
    sum(CASE WHEN is_bounce THEN 1 ELSE 0 END) AS bounce_count,
    sum(CASE WHEN is_converted THEN 1 ELSE 0 END) AS converted_session_count,
    sum(order_count) AS order_count,
    sum(revenue) AS revenue
FROM {{ names.redshift.schema }}.fact_sessions
WHERE NOT is_bot
GROUP BY
    cast(started_at AS DATE), channel, coalesce(device_type, '(not set)'), coalesce(country, '(not set)');
