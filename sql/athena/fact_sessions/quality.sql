-- What:   the rows that a run's quality checks look at: every day the run has rebuilt.
-- Grain:  one session: session_id.
-- Source: fact_sessions and its dimensions.
WITH sessions AS (
    SELECT
        session_id,
        user_key,
        started_at,
        ended_at,
        duration_seconds,
        event_count,
        view_count,
        click_count,
        entry_page,
        channel,
        source_key,
        device_key,
        funnel_step,
        order_count,
        foreign_order_count,
        revenue,
        year * 10000 + month * 100 + day AS partition_day,
        year(started_at) * 10000 + month(started_at) * 100 + day(started_at) AS row_day
    FROM {{ names.glue.database }}.fact_sessions
    WHERE {{ rebuilt_days }}
)

SELECT
    sessions.session_id,
    sessions.user_key,
    sessions.started_at,
    sessions.ended_at,
    sessions.duration_seconds,
    sessions.event_count,
    sessions.view_count,
    sessions.click_count,
    sessions.channel,
    sessions.source_key,
    sessions.device_key,
    sessions.funnel_step,
    sessions.order_count,
    sessions.foreign_order_count,
    sessions.revenue,
    sessions.partition_day,
    sessions.row_day,
    CASE WHEN members.user_key IS NULL THEN 1 ELSE 0 END AS user_orphan,
    CASE WHEN devices.device_key IS NULL THEN 1 ELSE 0 END AS device_orphan,
    CASE WHEN sources.source_key IS NULL THEN 1 ELSE 0 END AS source_orphan,
    CASE WHEN sessions.entry_page IS NOT NULL AND pages.page IS NULL THEN 1 ELSE 0 END AS entry_page_orphan
FROM sessions
LEFT JOIN {{ names.glue.database }}.dim_users AS members ON sessions.user_key = members.user_key
LEFT JOIN {{ names.glue.database }}.dim_devices AS devices ON sessions.device_key = devices.device_key
LEFT JOIN {{ names.glue.database }}.dim_sources AS sources ON sessions.source_key = sources.source_key
LEFT JOIN {{ names.glue.database }}.dim_pages AS pages ON sessions.entry_page = pages.page
