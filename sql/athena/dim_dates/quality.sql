-- What:   the rows that a run's quality checks look at: the whole snapshot.
-- Grain:  one UTC day: event_date; weekday 0 is Sunday.
-- Source: dim_dates.
SELECT
    event_date,
    year,
    quarter,
    month,
    day,
    iso_week,
    weekday,
    date_diff('day', lag(event_date) OVER (ORDER BY event_date), event_date) AS days_since_last
FROM {{ names.glue.database }}.dim_dates
