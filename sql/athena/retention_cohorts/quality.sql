-- What:   the rows that a run's quality checks look at: the whole snapshot.
-- Grain:  one cohort_week and weeks_since.
-- Source: retention_cohorts.
SELECT
    cohort_week,
    weeks_since,
    user_count,
    cohort_size,
    retention_rate
FROM {{ names.glue.database }}.retention_cohorts
