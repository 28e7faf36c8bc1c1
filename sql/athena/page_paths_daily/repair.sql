-- What:   registers the days that the model job has written.
-- Grain:  one partition per day.
-- Source: the day= folders of page_paths_daily.
MSCK REPAIR TABLE {{ names.glue.database }}.page_paths_daily
