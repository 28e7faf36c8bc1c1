-- What:   persons by the week they were first active in, and how many came back.
-- Grain:  one cohort_week and weeks_since.
-- Source: lake.retention_cohorts.
CREATE TABLE IF NOT EXISTS {{ names.redshift.schema }}.retention_cohorts (
    cohort_week DATE NOT NULL,
    weeks_since INTEGER NOT NULL,
    user_count BIGINT NOT NULL,
    cohort_size BIGINT NOT NULL,
    retention_rate DOUBLE PRECISION NOT NULL
)
-- One row for two weeks that belong together: a copy on every node.
DISTSTYLE ALL
SORTKEY (cohort_week)
