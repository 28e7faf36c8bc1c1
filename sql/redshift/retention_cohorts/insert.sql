-- What:   second half of the load: the snapshot comes in from the lake, through Spectrum.
-- Grain:  one cohort_week and weeks_since.
-- Source: lake.retention_cohorts.
INSERT INTO {{ names.redshift.schema }}.retention_cohorts (
    cohort_week,
    weeks_since,
    user_count,
    cohort_size,
    retention_rate
)
SELECT
    cohort_week,
    weeks_since,
    user_count,
    cohort_size,
    retention_rate
FROM {{ names.redshift.lake_schema }}.retention_cohorts
