-- What:   how many events of one interval's arrivals stand in fact_clicks.
-- Grain:  one row.
-- Source: fact_clicks.
SELECT count(*) AS loaded_count
FROM {{ names.glue.database }}.fact_clicks
WHERE
    {{ touched_hours }}
    AND arrived_at >= TIMESTAMP '{{ interval_start }}'
    AND arrived_at < TIMESTAMP '{{ interval_end }}'
