-- What:   every combination of device, browser and robot that a session has.
-- Grain:  one combination: device_key.
-- Source: lake.dim_devices.
CREATE TABLE IF NOT EXISTS {{ names.redshift.schema }}.dim_devices (
    device_key VARCHAR(32) NOT NULL,
    device_type VARCHAR(65535) NOT NULL,
    browser VARCHAR(65535) NOT NULL,
    agent_browser VARCHAR(65535) NOT NULL,
    agent_os VARCHAR(65535) NOT NULL,
    agent_device VARCHAR(65535) NOT NULL,
    is_bot BOOLEAN NOT NULL
)
-- Small and joined everywhere: a copy on every node.
DISTSTYLE ALL
SORTKEY (device_key)
