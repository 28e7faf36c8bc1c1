-- What:   the columns of text in the warehouse's own tables, whatever tables there are.
-- Grain:  one column.
-- Source: Redshift's catalog.
SELECT
    table_name,
    column_name
FROM svv_columns
WHERE
    table_schema = '{{ names.redshift.schema }}'
    AND (data_type LIKE 'character%' OR data_type = 'varchar')
ORDER BY
    table_name,
    ordinal_position
