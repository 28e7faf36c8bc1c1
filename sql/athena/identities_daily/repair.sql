-- What:   registers the days that the model job has written.
-- Grain:  one partition per day.
-- Source: the day= folders of identities_daily.
MSCK REPAIR TABLE {{ names.glue.database }}.identities_daily
