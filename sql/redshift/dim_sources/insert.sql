-- What:   second half of the load: the snapshot comes in from the lake, through Spectrum.
-- Grain:  one combination: source_key.
-- Source: lake.dim_sources.
INSERT INTO {{ names.redshift.schema }}.dim_sources (
    source_key,
    source,
    medium,
    campaign,
    channel
)
SELECT
    source_key,
    source,
    medium,
    campaign,
    channel
FROM {{ names.redshift.lake_schema }}.dim_sources
