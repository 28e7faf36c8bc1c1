-- What:   registers the days of arrival that have rejected lines.
-- Grain:  one partition per day.
-- Source: the day= folders of quarantine.
MSCK REPAIR TABLE {{ names.glue.database }}.quarantine
