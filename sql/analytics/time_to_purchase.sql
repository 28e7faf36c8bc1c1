-- What:   how many days pass from a user's first session ever to the first one with a purchase.
-- Grain:  days; users whose first purchase falls from {{ first_date }} to {{ last_date }}; robots left out.
-- Source: fact_sessions, dim_users, dim_dates; the same text runs in Athena and in Redshift.
WITH purchases AS (
    SELECT
        user_key,
        min(cast(started_at AS DATE)) AS bought_date
    FROM {{ names.glue.database }}.fact_sessions
    WHERE
        is_converted
        AND NOT is_bot
        AND year * 10000 + month * 100 + day <= {{ last_date | replace('-', '') }}
    GROUP BY user_key
),

calendar AS (
    SELECT
        event_date,
        row_number() OVER (ORDER BY event_date) AS day_number
    FROM {{ names.glue.database }}.dim_dates
)

SELECT
    bought.day_number - seen.day_number AS day_count,
    count(*) AS user_count
FROM purchases
INNER JOIN {{ names.glue.database }}.dim_users AS members ON purchases.user_key = members.user_key
INNER JOIN calendar AS seen ON cast(members.first_seen_at AS DATE) = seen.event_date
INNER JOIN calendar AS bought ON purchases.bought_date = bought.event_date
WHERE purchases.bought_date >= cast('{{ first_date }}' AS DATE)
GROUP BY bought.day_number - seen.day_number
ORDER BY day_count
