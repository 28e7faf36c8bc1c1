-- What:   new, retained, returning and churned persons of every week.
-- Grain:  one week, from its Monday.
-- Source: lake.lifecycle_weekly.
CREATE TABLE IF NOT EXISTS {{ names.redshift.schema }}.lifecycle_weekly (
    week DATE NOT NULL,
    new_count BIGINT NOT NULL,
    retained_count BIGINT NOT NULL,
    returning_count BIGINT NOT NULL,
    churned_count BIGINT NOT NULL
)
-- One row a week: a copy on every node.
DISTSTYLE ALL
SORTKEY (week)
