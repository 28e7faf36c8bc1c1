-- What:   brings event_counts_hourly up to date; a request of its own, after the load's transaction.
-- Grain:  one hour, event_type and device_type.
-- Source: https://docs.aws.amazon.com/redshift/latest/dg/materialized-view-refresh-sql-command.html
REFRESH MATERIALIZED VIEW {{ names.redshift.schema }}.event_counts_hourly
