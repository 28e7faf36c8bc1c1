-- What:   Spectrum returns maps as JSON text in this session; without it `metadata` cannot be read.
-- Grain:  the session, that is the load's transaction.
-- Source: https://docs.aws.amazon.com/redshift/latest/dg/serializing-complex-JSON.html
SET json_serialization_enable TO TRUE
