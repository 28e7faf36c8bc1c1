-- What:   brings the staged members in: known identities are updated, new ones inserted.
-- Grain:  one identity: user_id, else anonymous_id.
-- Source: dim_users_staged (stage.sql).
MERGE INTO {{ names.redshift.schema }}.dim_users
USING dim_users_staged AS staged
    ON dim_users.user_key = staged.user_key
WHEN MATCHED THEN
    UPDATE
        SET
            is_anonymous = staged.is_anonymous,
            first_seen_at = staged.first_seen_at,
            last_seen_at = staged.last_seen_at,
            event_count = staged.event_count,
            purchase_count = staged.purchase_count
WHEN NOT MATCHED THEN INSERT (
    user_key,
    is_anonymous,
    first_seen_at,
    last_seen_at,
    event_count,
    purchase_count
) VALUES (
    staged.user_key,
    staged.is_anonymous,
    staged.first_seen_at,
    staged.last_seen_at,
    staged.event_count,
    staged.purchase_count
)
