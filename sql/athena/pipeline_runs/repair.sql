-- What:   registers the days that the ledger has entries for.
-- Grain:  one partition per day.
-- Source: the day= folders of pipeline_runs.
MSCK REPAIR TABLE {{ names.glue.database }}.pipeline_runs
