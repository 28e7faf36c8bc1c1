-- What:   which part of a week's new persons is active again, week by week.
-- Grain:  one cohort week that begins from {{ first_date }} to {{ last_date }}, and weeks since.
-- Source: retention_cohorts; the same text runs in Athena and in Redshift.
SELECT
    cohort_week,
    weeks_since,
    cohort_size,
    user_count,
    round(retention_rate, 4) AS retention_rate
FROM {{ names.glue.database }}.retention_cohorts
WHERE cohort_week BETWEEN cast('{{ first_date }}' AS DATE) AND cast('{{ last_date }}' AS DATE)
ORDER BY cohort_week ASC, weeks_since ASC
