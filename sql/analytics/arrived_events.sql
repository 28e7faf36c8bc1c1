-- What:   how many events of one day's arrivals are loaded, whenever they happened.
-- Grain:  one row.
-- Source: fact_clicks; the same text runs in Athena and in Redshift.
SELECT count(*) AS event_count
FROM {{ names.glue.database }}.fact_clicks
WHERE
    arrived_at >= TIMESTAMP '{{ arrival_date }} 00:00:00'
    AND arrived_at <= TIMESTAMP '{{ arrival_date }} 23:59:59'
