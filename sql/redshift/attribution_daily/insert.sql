-- What:   second half of the load: the days that the run has rebuilt come in from the lake.
-- Grain:  one day, model, channel, source, medium and campaign.
-- Source: lake.attribution_daily.
INSERT INTO {{ names.redshift.schema }}.attribution_daily (
    model,
    channel,
    source,
    medium,
    campaign,
    order_credit,
    revenue,
    day
)
SELECT
    model,
    channel,
    source,
    medium,
    campaign,
    order_credit,
    revenue,
    cast(day AS DATE) AS day
FROM {{ names.redshift.lake_schema }}.attribution_daily
WHERE {{ rebuilt_days(ti, 'attribution_daily') }}
