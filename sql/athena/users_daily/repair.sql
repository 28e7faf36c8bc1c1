-- What:   registers the days that the model job has written.
-- Grain:  one partition per day.
-- Source: the day= folders of users_daily.
MSCK REPAIR TABLE {{ names.glue.database }}.users_daily
