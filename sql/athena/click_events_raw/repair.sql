-- What:   registers the arrival hours that Firehose has written since the last run.
-- Grain:  one partition per arrival hour.
-- Source: the year=/month=/day=/hour= folders of the raw bucket.
MSCK REPAIR TABLE {{ names.glue.raw_database }}.click_events_raw
