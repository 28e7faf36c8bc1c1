-- What:   the calendar, from the first to the last day that has an event.
-- Grain:  one UTC day: event_date; weekday 0 is Sunday.
-- Source: lake.dim_dates.
CREATE TABLE IF NOT EXISTS {{ names.redshift.schema }}.dim_dates (
    event_date DATE NOT NULL,
    year INTEGER NOT NULL,
    quarter INTEGER NOT NULL,
    month INTEGER NOT NULL,
    day INTEGER NOT NULL,
    iso_week INTEGER NOT NULL,
    weekday INTEGER NOT NULL,
    is_weekend BOOLEAN NOT NULL
)
-- Small and joined everywhere: a copy on every node.
DISTSTYLE ALL
SORTKEY (event_date)
