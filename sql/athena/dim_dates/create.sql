-- What:   the calendar, from the first to the last day that has an event.
-- Grain:  one UTC day: event_date; weekday 0 is Sunday.
-- Source: glue/build_model.py, anew with every run.
CREATE EXTERNAL TABLE IF NOT EXISTS {{ names.glue.database }}.dim_dates (
    event_date DATE,
    year INT,
    quarter INT,
    month INT,
    day INT,
    iso_week INT,
    weekday INT,
    is_weekend BOOLEAN
)
STORED AS PARQUET -- noqa: PRS
LOCATION 's3://{{ names.buckets.processed }}/{{ names.prefixes.lake }}dim_dates/'
TBLPROPERTIES ('parquet.compression' = 'ZSTD')
