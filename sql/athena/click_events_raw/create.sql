-- What:   raw events as they came, for looking at and counting; the clean job reads the objects itself.
-- Grain:  one raw line; a line that is not JSON is a row of nulls.
-- Source: Firehose, by arrival hour (UTC).
CREATE EXTERNAL TABLE IF NOT EXISTS {{ names.glue.raw_database }}.click_events_raw (
    event_id STRING,
    event_type STRING,
    event_timestamp STRING,
    `timestamp` STRING, -- noqa: RF06
    user_id STRING,
    anonymous_id STRING,
    session_id STRING,
    page STRING,
    page_url STRING,
    referrer_url STRING,
    product_id STRING,
    device_type STRING,
    browser STRING,
    location STRING,
    user_type STRING,
    price STRING,
    quantity STRING,
    currency STRING,
    order_id STRING,
    user_agent STRING,
    ip_address STRING,
    metadata MAP<STRING, STRING>,
    additional_data MAP<STRING, STRING>
)
PARTITIONED BY (year INT, month INT, day INT, hour INT)
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
WITH SERDEPROPERTIES ('ignore.malformed.json' = 'true')
STORED AS TEXTFILE
LOCATION 's3://{{ names.buckets.raw }}/{{ names.prefixes.raw }}'
