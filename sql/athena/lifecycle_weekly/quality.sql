-- What:   the rows that a run's quality checks look at: the whole snapshot.
-- Grain:  one week, from its Monday.
-- Source: lifecycle_weekly.
SELECT
    week,
    new_count,
    retained_count,
    returning_count,
    churned_count
FROM {{ names.glue.database }}.lifecycle_weekly
