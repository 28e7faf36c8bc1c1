-- What:   how many raw lines arrived in the interval.
-- Grain:  one row.
-- Source: click_events_raw.
SELECT count(*) AS line_count
FROM {{ names.glue.raw_database }}.click_events_raw
WHERE {{ arrival_hours }}
