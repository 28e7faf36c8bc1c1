-- What:   registers the days that the model job has written.
-- Grain:  one partition per day.
-- Source: the day= folders of model_runs.
MSCK REPAIR TABLE {{ names.glue.database }}.model_runs
