-- What:   brings product_funnel_monthly up to date; a request of its own, after the load's transaction.
-- Grain:  one product_id and month, from its first day.
-- Source: https://docs.aws.amazon.com/redshift/latest/dg/materialized-view-refresh-sql-command.html
REFRESH MATERIALIZED VIEW {{ names.redshift.schema }}.product_funnel_monthly
