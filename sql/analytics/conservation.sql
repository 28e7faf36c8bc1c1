-- What:   where every line of a day's arrivals went; the newest run of each interval counts.
-- Grain:  one interval of the clean job that starts on {{ arrival_date }} (UTC).
-- Source: pipeline_runs (the ledger).
WITH runs AS (
    SELECT
        run_id,
        interval_start,
        line_count,
        loaded_count,
        duplicate_count,
        blank_count,
        quarantined_by_reason,
        residual,
        -- A run that is older than the column has none.
        coalesce(erased_count, 0) AS erased_count,
        row_number() OVER (PARTITION BY interval_start ORDER BY ended_at DESC) AS newest_first
    FROM {{ names.glue.database }}.pipeline_runs
    WHERE day = '{{ arrival_date }}'
)

SELECT
    run_id,
    interval_start,
    line_count,
    loaded_count,
    duplicate_count,
    blank_count,
    erased_count,
    residual,
    json_format(cast(quarantined_by_reason AS JSON)) AS quarantined_by_reason
FROM runs
WHERE newest_first = 1
ORDER BY interval_start
