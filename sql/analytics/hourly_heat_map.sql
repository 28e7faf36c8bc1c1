-- What:   when the shop is busy: sums over all such hours, UTC; weekday 0 is Sunday.
-- Grain:  one weekday and hour of the day from {{ first_date }} to {{ last_date }}; robots left out.
-- Source: engagement_hourly, dim_dates; the same text runs in Athena and in Redshift.
SELECT
    dates.weekday,
    extract(HOUR FROM hours.hour_at) AS hour_of_day,
    sum(hours.event_count) AS event_count,
    sum(hours.session_count) AS session_count,
    sum(hours.order_count) AS order_count,
    sum(hours.revenue) AS revenue
FROM {{ names.glue.database }}.engagement_hourly AS hours
INNER JOIN {{ names.glue.database }}.dim_dates AS dates ON cast(hours.hour_at AS DATE) = dates.event_date
WHERE hours.day BETWEEN '{{ first_date }}' AND '{{ last_date }}'
GROUP BY dates.weekday, extract(HOUR FROM hours.hour_at)
ORDER BY dates.weekday ASC, hour_of_day ASC
