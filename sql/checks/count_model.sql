-- What:   how many rows a run's part of each table of the model has; the same text in Athena and in Redshift.
-- Grain:  one table.
-- Source: the model's tables, each with the predicate of the days that the run has rebuilt.
{% for table, rebuilt_days in tables.items() %}
    SELECT
        '{{ table }}' AS model_table,
        count(*) AS model_rows
    FROM {{ names.glue.database }}.{{ table }}
    WHERE {{ rebuilt_days }}
    {{ "UNION ALL" if not loop.last }}
{% endfor %}
