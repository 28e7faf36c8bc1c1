-- What:   the role of people who ask and change nothing; what the schema gets later, it may read, too.
-- Grain:  one role, `analyst`; GRANT ROLE analyst TO "IAMR:name" (or a user) is left to who knows them.
-- Source: the schemas of schemas.sql; runs after tables and views, by the user that owns them.

-- Redshift has no CREATE ROLE IF NOT EXISTS; only a procedure can look first. It stays for a moment only.
-- (No line of it ends with a semicolon: that ends a statement of this file.)
CREATE OR REPLACE PROCEDURE {{ names.redshift.schema }}.sp_create_analyst ()
AS $$
BEGIN IF NOT EXISTS (SELECT role_name FROM svv_roles WHERE role_name = 'analyst')
THEN EXECUTE 'CREATE ROLE analyst'; END IF; END; $$ LANGUAGE plpgsql;

CALL {{ names.redshift.schema }}.sp_create_analyst();

DROP PROCEDURE {{ names.redshift.schema }}.sp_create_analyst ();

GRANT USAGE ON SCHEMA {{ names.redshift.schema }} TO ROLE analyst;

-- Not the lake's schema: an external schema knows no SELECT on single tables, and the lake has the
-- quarantine, whose bytes are raw lines with all that is personal in them.
GRANT SELECT ON ALL TABLES IN SCHEMA {{ names.redshift.schema }} TO ROLE analyst;

ALTER DEFAULT PRIVILEGES IN SCHEMA {{ names.redshift.schema }}
GRANT SELECT ON TABLES TO ROLE analyst; -- noqa: CP02, PRS
