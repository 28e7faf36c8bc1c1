-- What:   which channels bring sessions, engagement, conversions and revenue (to the converting session).
-- Grain:  one channel from {{ first_date }} to {{ last_date }}, both included; robots left out.
-- Source: fact_sessions; the same text runs in Athena and in Redshift.
SELECT
    channel,
    count(*) AS session_count,
    round(1e0 * sum(CASE WHEN is_engaged THEN 1 ELSE 0 END) / count(*), 4) AS engaged_rate,
    round(1e0 * sum(CASE WHEN is_bounce THEN 1 ELSE 0 END) / count(*), 4) AS bounce_rate,
    round(1e0 * sum(CASE WHEN is_converted THEN 1 ELSE 0 END) / count(*), 4) AS conversion_rate,
    sum(order_count) AS order_count,
    sum(revenue) AS revenue
FROM {{ names.glue.database }}.fact_sessions
WHERE
    NOT is_bot
    AND year * 10000 + month * 100 + day
    BETWEEN {{ first_date | replace('-', '') }} AND {{ last_date | replace('-', '') }}
GROUP BY channel
ORDER BY session_count DESC, channel ASC
