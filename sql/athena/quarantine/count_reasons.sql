-- What:   how many lines lie in quarantine, of some days of arrival.
-- Grain:  one day and reason.
-- Source: quarantine.
SELECT
    day,
    reason,
    count(*) AS line_count
FROM {{ names.glue.database }}.quarantine
WHERE day BETWEEN '{{ first_date }}' AND '{{ last_date }}'
GROUP BY day, reason
ORDER BY day, reason
