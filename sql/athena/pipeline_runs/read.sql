-- What:   the ledger's entry of one run; maps and arrays as JSON text, which every client reads alike.
-- Grain:  one run (none when the job wrote no entry).
-- Source: pipeline_runs.
SELECT
    run_id,
    object_count,
    line_count,
    loaded_count,
    duplicate_count,
    quarantined_count,
    blank_count,
    erased_count,
    displaced_count,
    residual,
    json_format(cast(quarantined_by_reason AS JSON)) AS quarantined_by_reason,
    json_format(cast(touched_hours AS JSON)) AS touched_hours
FROM {{ names.glue.database }}.pipeline_runs
WHERE
    day = '{{ interval_start[:10] }}'
    AND run_id = '{{ run_id }}'
