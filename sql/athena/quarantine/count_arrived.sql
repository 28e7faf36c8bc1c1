-- What:   how many lines of one interval's arrivals were quarantined.
-- Grain:  one row.
-- Source: quarantine.
SELECT count(*) AS quarantined_count
FROM {{ names.glue.database }}.quarantine
WHERE
    day = '{{ interval_start[:10] }}'
    AND arrived_at >= TIMESTAMP '{{ interval_start }}'
    AND arrived_at < TIMESTAMP '{{ interval_end }}'
