-- What:   how many events of each type every hour has, by device; events of robots' agents left out.
-- Grain:  one hour, event_type and device_type.
-- Source: fact_clicks. The largest table by far:
--         a chart of a month would read all of its events; sums refresh incrementally.
DROP MATERIALIZED VIEW IF EXISTS {{ names.redshift.schema }}.event_counts_hourly;

CREATE MATERIALIZED VIEW {{ names.redshift.schema }}.event_counts_hourly
DISTSTYLE EVEN
SORTKEY (hour_at)
AUTO REFRESH NO
AS
SELECT
    event_type,
    date_trunc('hour', event_timestamp) AS hour_at,
    coalesce(device_type, '(not set)') AS device_type,
    count(*) AS event_count
FROM {{ names.redshift.schema }}.fact_clicks
WHERE NOT is_bot
GROUP BY date_trunc('hour', event_timestamp), event_type, coalesce(device_type, '(not set)');
