-- What:   raw events as they came, for looking at and counting; the clean job reads the objects itself.
-- Grain:  one raw line; a line that is not JSON is a row of nulls.
-- Source: Firehose, by arrival hour (UTC).
CREATE EXTERNAL TABLE IF NOT EXISTS {{ names.glue.raw_database }}.click_events_raw (
    event_id string,
    event_type string,
    event_timestamp string,
    `timestamp` string,
    user_id string,
    anonymous_id string,
    session_id string,
    page string,
    page_url string,
    referrer_url string,
    product_id string,
    device_type string,
    browser string,
    location string,
    user_type string,
    price string,
    quantity string,
    currency string,
    order_id string,
    user_agent string,
    ip_address string,
    metadata map<string, string>,
    additional_data map<string, string>
)
PARTITIONED BY (year int, month int, day int, hour int)
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
WITH SERDEPROPERTIES ('ignore.malformed.json' = 'true')
STORED AS TEXTFILE
LOCATION 's3://{{ names.buckets.raw }}/{{ names.prefixes.raw }}'
