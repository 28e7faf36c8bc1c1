-- What:   the rows that a run's quality checks look at: every rejected line of the interval's day.
-- Grain:  one rejected line: (source_object, source_line).
-- Source: quarantine; raw_bytes stay there, they hold what is personal.
SELECT
    reason,
    source_object,
    source_line,
    day AS partition_day,
    cast(cast(arrived_at AS DATE) AS VARCHAR) AS row_day
FROM {{ names.glue.database }}.quarantine
WHERE day = '{{ interval_start[:10] }}'
