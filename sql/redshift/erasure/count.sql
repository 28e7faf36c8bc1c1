-- What:   how many rows of a table name a person; the ids are compared by their salted digests.
-- Grain:  one table: {{ table }}.
-- Source: {{ table }}; the predicate is clickstream.erasure's.
SELECT count(*) AS named_count
FROM {{ names.redshift.schema }}.{{ table }}
WHERE {{ person }}
