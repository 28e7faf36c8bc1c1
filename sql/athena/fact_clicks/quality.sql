-- What:   the rows that a run's quality checks look at: every event hour the run has rewritten.
-- Grain:  one event: (event_id, event_timestamp).
-- Source: fact_clicks.
SELECT
    event_id,
    event_type,
    event_category,
    event_timestamp,
    price,
    quantity,
    arrived_at,
    source_object,
    source_line,
    CASE WHEN is_clock_skewed THEN 1 ELSE 0 END AS clock_skew,
    coalesce(user_id, anonymous_id) AS user_key,
    year * 1000000 + month * 10000 + day * 100 + hour AS partition_hour,
    year(event_timestamp) * 1000000 + month(event_timestamp) * 10000
    + day(event_timestamp) * 100 + hour(event_timestamp) AS event_hour
FROM {{ names.glue.database }}.fact_clicks
WHERE {{ touched_hours }}
