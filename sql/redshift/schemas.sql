-- What:   the schema of the warehouse's own tables, and a window (Spectrum) on the lake's.
-- Grain:  one schema each.
-- Source: the Glue catalog; the role is the namespace's default one.
CREATE SCHEMA IF NOT EXISTS {{ names.redshift.schema }};

CREATE EXTERNAL SCHEMA IF NOT EXISTS {{ names.redshift.lake_schema }}
FROM DATA CATALOG
DATABASE '{{ names.glue.database }}'
IAM_ROLE DEFAULT;
