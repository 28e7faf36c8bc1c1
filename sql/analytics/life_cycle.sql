-- What:   how many persons are new, retained, returning and churned.
-- Grain:  one week that begins from {{ first_date }} to {{ last_date }}.
-- Source: lifecycle_weekly; the same text runs in Athena and in Redshift.
SELECT
    week,
    new_count,
    retained_count,
    returning_count,
    churned_count,
    new_count + retained_count + returning_count AS active_count,
    new_count + returning_count - churned_count AS growth_count
FROM {{ names.glue.database }}.lifecycle_weekly
WHERE week BETWEEN cast('{{ first_date }}' AS DATE) AND cast('{{ last_date }}' AS DATE)
ORDER BY week
