-- What:   how many events the run's hours hold; the same text runs in Athena and in Redshift.
-- Grain:  one row.
-- Source: fact_clicks.
SELECT count(*) AS event_count
FROM {{ names.glue.database }}.fact_clicks
WHERE {{ touched_hours }}
