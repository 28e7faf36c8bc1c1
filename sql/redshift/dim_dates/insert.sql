-- What:   adds the days of the run's event hours that the calendar does not know; a day never changes.
-- Grain:  one UTC day; weekday 0 is Sunday.
-- Source: fact_clicks.
INSERT INTO {{ names.redshift.schema }}.dim_dates (
    event_date,
    year,
    quarter,
    month,
    day,
    iso_week,
    weekday,
    is_weekend
)
WITH touched AS (
    SELECT DISTINCT cast(event_timestamp AS DATE) AS event_date
    FROM {{ names.redshift.schema }}.fact_clicks
    WHERE {{ touched_hours(ti) }}
)

SELECT
    touched.event_date,
    extract(YEAR FROM touched.event_date) AS year,
    extract(QUARTER FROM touched.event_date) AS quarter,
    extract(MONTH FROM touched.event_date) AS month,
    extract(DAY FROM touched.event_date) AS day,
    extract(WEEK FROM touched.event_date) AS iso_week,
    extract(DOW FROM touched.event_date) AS weekday,
    extract(DOW FROM touched.event_date) IN (0, 6) AS is_weekend
FROM touched
LEFT JOIN {{ names.redshift.schema }}.dim_dates AS known ON touched.event_date = known.event_date
WHERE known.event_date IS NULL
