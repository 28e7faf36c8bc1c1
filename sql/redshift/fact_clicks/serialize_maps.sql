-- What:   Spectrum returns maps and arrays as JSON text in this session; `metadata` and `page_path` need it.
-- Grain:  the session, that is the load's transaction.
-- Source: https://docs.aws.amazon.com/redshift/latest/dg/serializing-complex-JSON.html
SET json_serialization_enable TO TRUE
