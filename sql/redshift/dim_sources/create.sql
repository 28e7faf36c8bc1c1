-- What:   every combination of source, medium and campaign that a session has, and its channel.
-- Grain:  one combination: source_key.
-- Source: lake.dim_sources.
CREATE TABLE IF NOT EXISTS {{ names.redshift.schema }}.dim_sources (
    source_key VARCHAR(32) NOT NULL,
    source VARCHAR(65535) NOT NULL,
    medium VARCHAR(65535) NOT NULL,
    campaign VARCHAR(65535) NOT NULL,
    channel VARCHAR(32) NOT NULL
)
-- Small and joined everywhere: a copy on every node.
DISTSTYLE ALL
SORTKEY (source_key)
