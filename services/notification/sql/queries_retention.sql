-- name: find_cutoffs
-- By the clock that dates the rows.
SELECT now() - make_interval(days => $1) AS notifications, now() - make_interval(days => $2) AS events;

-- name: list_expired_notifications
-- In the order of their ids, which begin with a time. A notification whose e-mail is waiting is not removed.
SELECT id FROM notifications
WHERE id < $1 AND created_at < $2 AND coalesce(occurred_at, created_at) < $2
  AND NOT EXISTS (SELECT FROM deliveries WHERE notification_id = notifications.id AND state = 'waiting')
ORDER BY id LIMIT $3;

-- name: delete_deliveries
DELETE FROM deliveries WHERE notification_id = ANY($1::uuid[]);

-- name: delete_notifications
DELETE FROM notifications WHERE id = ANY($1::uuid[]);

-- name: delete_inbox
-- Keys of outcomes that happened, and of transfers that expired, before the time of $2. A row is inserted later than that; the
-- day covers clocks that differ.
WITH expired AS MATERIALIZED (
    SELECT transfer_id, type FROM inbox
    WHERE transfer_id < $1 AND received_at < $2::timestamptz - interval '1 day' ORDER BY transfer_id LIMIT $3
)
DELETE FROM inbox USING expired WHERE inbox.transfer_id = expired.transfer_id AND inbox.type = expired.type;

-- name: delete_late
WITH expired AS MATERIALIZED (
    SELECT transfer_id FROM late_notifications WHERE created_at < $1 ORDER BY created_at LIMIT $2
)
DELETE FROM late_notifications USING expired WHERE late_notifications.transfer_id = expired.transfer_id;

-- name: delete_events
WITH expired AS MATERIALIZED (
    SELECT user_id, seq FROM events WHERE created_at < $1 ORDER BY created_at LIMIT $2
)
DELETE FROM events USING expired WHERE events.user_id = expired.user_id AND events.seq = expired.seq;
