-- What:   registers the days that the model job has written.
-- Grain:  one partition per day.
-- Source: the year=/month=/day= folders of fact_sessions.
MSCK REPAIR TABLE {{ names.glue.database }}.fact_sessions
