-- What:   how many events arrive in a later hour, and on a later day, than they happened.
-- Grain:  one UTC day of the event from {{ first_date }} to {{ last_date }}, both included.
-- Source: fact_clicks; the same text runs in Athena and in Redshift.
WITH events AS (
    SELECT
        arrived_at,
        cast(event_timestamp AS DATE) AS event_date,
        CASE WHEN arrived_at > event_timestamp THEN 1 ELSE 0 END AS later_hour,
        CASE WHEN cast(arrived_at AS DATE) > cast(event_timestamp AS DATE) THEN 1 ELSE 0 END AS later_day
    FROM {{ names.glue.database }}.fact_clicks
    WHERE
        year * 10000 + month * 100 + day
        BETWEEN {{ first_date | replace('-', '') }} AND {{ last_date | replace('-', '') }}
)

SELECT
    event_date,
    count(*) AS event_count,
    sum(later_hour) AS later_hour_count,
    sum(later_day) AS later_day_count,
    round(1e0 * sum(later_day) / count(*), 6) AS later_day_rate,
    max(arrived_at) AS last_arrived_at
FROM events
GROUP BY event_date
ORDER BY event_date
