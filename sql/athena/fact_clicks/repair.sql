-- What:   registers the event hours that the clean job has written.
-- Grain:  one partition per event hour.
-- Source: the year=/month=/day=/hour= folders of fact_clicks.
MSCK REPAIR TABLE {{ names.glue.database }}.fact_clicks
