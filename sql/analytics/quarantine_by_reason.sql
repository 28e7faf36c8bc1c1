-- What:   how many lines were rejected, and why.
-- Grain:  one UTC day of arrival and reason from {{ first_date }} to {{ last_date }}, both included.
-- Source: quarantine; only in Athena, the warehouse has no rejected lines.
SELECT
    cast(day AS DATE) AS arrival_date,
    reason,
    count(*) AS line_count,
    count(DISTINCT source_object) AS object_count
FROM {{ names.glue.database }}.quarantine
WHERE day BETWEEN '{{ first_date }}' AND '{{ last_date }}'
GROUP BY day, reason
ORDER BY arrival_date ASC, line_count DESC, reason ASC
