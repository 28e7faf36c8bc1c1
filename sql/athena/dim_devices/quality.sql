-- What:   the rows that a run's quality checks look at: the whole snapshot.
-- Grain:  one combination: device_key.
-- Source: dim_devices.
SELECT
    device_key,
    device_type,
    browser,
    agent_browser,
    agent_os,
    agent_device,
    CASE WHEN is_bot THEN 1 ELSE 0 END AS bot
FROM {{ names.glue.database }}.dim_devices
