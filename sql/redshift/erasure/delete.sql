-- What:   takes a person's rows out of a table; ids are compared by their salted digests.
-- Grain:  one table: {{ table }}.
-- Source: {{ table }}; the predicate is clickstream.erasure's.
DELETE FROM {{ names.redshift.schema }}.{{ table }}
WHERE {{ person }}
