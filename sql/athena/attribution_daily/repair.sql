-- What:   registers the days that the model job has written.
-- Grain:  one partition per day.
-- Source: the day= folders of attribution_daily.
MSCK REPAIR TABLE {{ names.glue.database }}.attribution_daily
