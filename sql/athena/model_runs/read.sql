-- What:   what one run of the model job rebuilt; maps and arrays as JSON text, which all clients read alike.
-- Grain:  one run (none when the job wrote no entry).
-- Source: model_runs.
SELECT
    run_id,
    json_format(cast(touched_days AS JSON)) AS touched_days,
    json_format(cast(rebuilt_days AS JSON)) AS rebuilt_days,
    json_format(cast(row_counts AS JSON)) AS row_counts
FROM {{ names.glue.database }}.model_runs
WHERE
    day = '{{ interval_start[:10] }}'
    AND run_id = '{{ run_id }}'
