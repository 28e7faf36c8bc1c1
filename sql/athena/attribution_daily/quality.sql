-- What:   the rows that a run's quality checks look at: every day the run has rebuilt.
-- Grain:  one day, model, channel, source, medium and campaign.
-- Source: attribution_daily and dim_sources.
WITH shares AS (
    SELECT
        model,
        channel,
        source,
        medium,
        campaign,
        order_credit,
        revenue,
        day AS partition_day
    FROM {{ names.glue.database }}.attribution_daily
    WHERE {{ rebuilt_days }}
)

SELECT
    shares.model,
    shares.channel,
    shares.source,
    shares.medium,
    shares.campaign,
    shares.order_credit,
    shares.revenue,
    shares.partition_day,
    CASE WHEN sources.source_key IS NULL THEN 1 ELSE 0 END AS source_orphan
FROM shares
LEFT JOIN {{ names.glue.database }}.dim_sources AS sources
    ON
        shares.source = sources.source
        AND shares.medium = sources.medium
        AND shares.campaign = sources.campaign
