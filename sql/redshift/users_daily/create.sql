-- What:   what every user did, day by day.
-- Grain:  one user_key on one day on which it has an event.
-- Source: lake.users_daily.
CREATE TABLE IF NOT EXISTS {{ names.redshift.schema }}.users_daily (
    user_key VARCHAR(65535) NOT NULL,
    is_anonymous BOOLEAN NOT NULL,
    event_count BIGINT NOT NULL,
    robot_event_count BIGINT NOT NULL,
    session_count BIGINT NOT NULL,
    order_count BIGINT NOT NULL,
    revenue DECIMAL(38, 4) NOT NULL,
    first_event_at TIMESTAMP NOT NULL,
    last_event_at TIMESTAMP NOT NULL,
    day DATE NOT NULL
)
-- Beside the user's sessions and its row in dim_users: joins stay on the node.
DISTKEY (user_key)
-- Questions name a range of days: the other blocks are skipped, in the load's DELETE too. Hence a
-- DATE, where the lake has text: of text, a block's range holds 8 bytes, which is the month.
SORTKEY (day)
