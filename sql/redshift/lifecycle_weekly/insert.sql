-- What:   second half of the load: the snapshot comes in from the lake, through Spectrum.
-- Grain:  one week, from its Monday.
-- Source: lake.lifecycle_weekly.
INSERT INTO {{ names.redshift.schema }}.lifecycle_weekly (
    week,
    new_count,
    retained_count,
    returning_count,
    churned_count
)
SELECT
    week,
    new_count,
    retained_count,
    returning_count,
    churned_count
FROM {{ names.redshift.lake_schema }}.lifecycle_weekly
