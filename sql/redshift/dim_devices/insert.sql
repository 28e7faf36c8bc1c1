-- What:   second half of the load: the snapshot comes in from the lake, through Spectrum.
-- Grain:  one combination: device_key.
-- Source: lake.dim_devices.
INSERT INTO {{ names.redshift.schema }}.dim_devices (
    device_key,
    device_type,
    browser,
    agent_browser,
    agent_os,
    agent_device,
    is_bot
)
SELECT
    device_key,
    device_type,
    browser,
    agent_browser,
    agent_os,
    agent_device,
    is_bot
FROM {{ names.redshift.lake_schema }}.dim_devices
