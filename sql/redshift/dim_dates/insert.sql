-- What:   second half of the load: the snapshot comes in from the lake, through Spectrum.
-- Grain:  one UTC day: event_date; weekday 0 is Sunday.
-- Source: lake.dim_dates.
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
SELECT
    event_date,
    year,
    quarter,
    month,
    day,
    iso_week,
    weekday,
    is_weekend
FROM {{ names.redshift.lake_schema }}.dim_dates
