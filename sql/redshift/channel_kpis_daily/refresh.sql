-- What:   brings channel_kpis_daily up to date; a request of its own, after the load's transaction.
-- Grain:  one day, channel, device_type and country.
-- Source: https://docs.aws.amazon.com/redshift/latest/dg/materialized-view-refresh-sql-command.html
REFRESH MATERIALIZED VIEW {{ names.redshift.schema }}.channel_kpis_daily
