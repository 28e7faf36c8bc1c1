-- What:   how many events of one day's arrivals are loaded, whenever they happened.
-- Grain:  one row.
-- Source: fact_clicks; the same text runs in Athena and in Redshift.
SELECT count(*) AS event_count
FROM {{ names.glue.database }}.fact_clicks
WHERE cast(arrived_at AS DATE) = cast('{{ arrival_date }}' AS DATE)
