-- What:   the run's ledger entry as the quality checks judge it.
-- Grain:  one run.
-- Source: pipeline_runs.
SELECT
    residual,
    quarantined_count / cast(greatest(line_count, 1) AS DOUBLE) AS quarantined_share
FROM {{ names.glue.database }}.pipeline_runs
WHERE
    day = '{{ interval_start[:10] }}'
    AND run_id = '{{ run_id }}'
