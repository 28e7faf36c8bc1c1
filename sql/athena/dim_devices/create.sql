-- What:   every combination of device, browser and robot that a session has.
-- Grain:  one combination: device_key.
-- Source: glue/build_model.py, anew with every run.
CREATE EXTERNAL TABLE IF NOT EXISTS {{ names.glue.database }}.dim_devices (
    device_key STRING,
    device_type STRING,
    browser STRING,
    agent_browser STRING,
    agent_os STRING,
    agent_device STRING,
    is_bot BOOLEAN
)
STORED AS PARQUET -- noqa: PRS
LOCATION 's3://{{ names.buckets.processed }}/{{ names.prefixes.lake }}dim_devices/'
TBLPROPERTIES ('parquet.compression' = 'ZSTD')
