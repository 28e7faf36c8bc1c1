-- What:   the rows that a run's quality checks look at: the whole snapshot.
-- Grain:  one combination: source_key.
-- Source: dim_sources.
SELECT
    source_key,
    source,
    medium,
    campaign,
    channel
FROM {{ names.glue.database }}.dim_sources
