-- What:   registers the days that the model job has written.
-- Grain:  one partition per day.
-- Source: the day= folders of product_performance_daily.
MSCK REPAIR TABLE {{ names.glue.database }}.product_performance_daily
