-- What:   how far sessions come, by device, by channel and by country; each rate is of the step before.
-- Grain:  one device_type, channel or country from {{ first_date }} to {{ last_date }}, both included.
-- Source: funnel_daily; the same text runs in Athena and in Redshift.
WITH segments AS (
    SELECT
        'device_type' AS segment_kind,
        device_type AS segment,
        session_count,
        viewed_count,
        carted_count,
        checkout_count,
        purchased_count
    FROM {{ names.glue.database }}.funnel_daily
    WHERE day BETWEEN '{{ first_date }}' AND '{{ last_date }}'
    UNION ALL
    SELECT
        'channel' AS segment_kind,
        channel AS segment,
        session_count,
        viewed_count,
        carted_count,
        checkout_count,
        purchased_count
    FROM {{ names.glue.database }}.funnel_daily
    WHERE day BETWEEN '{{ first_date }}' AND '{{ last_date }}'
    UNION ALL
    SELECT
        'country' AS segment_kind,
        country AS segment,
        session_count,
        viewed_count,
        carted_count,
        checkout_count,
        purchased_count
    FROM {{ names.glue.database }}.funnel_daily
    WHERE day BETWEEN '{{ first_date }}' AND '{{ last_date }}'
)

SELECT
    segment_kind,
    segment,
    sum(session_count) AS session_count,
    sum(viewed_count) AS viewed_count,
    sum(carted_count) AS carted_count,
    sum(checkout_count) AS checkout_count,
    sum(purchased_count) AS purchased_count,
    round(1e0 * sum(viewed_count) / nullif(sum(session_count), 0), 4) AS view_rate,
    round(1e0 * sum(carted_count) / nullif(sum(viewed_count), 0), 4) AS cart_rate,
    round(1e0 * sum(checkout_count) / nullif(sum(carted_count), 0), 4) AS checkout_rate,
    round(1e0 * sum(purchased_count) / nullif(sum(checkout_count), 0), 4) AS purchase_rate
FROM segments
GROUP BY segment_kind, segment
ORDER BY segment_kind ASC, session_count DESC, segment ASC
