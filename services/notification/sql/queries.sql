-- name: insert_inbox
-- Returns the new rows; waits for the commit of a transaction that is recording a copy.
INSERT INTO inbox (transfer_id, type)
SELECT * FROM unnest($1::uuid[], $2::text[])
ON CONFLICT DO NOTHING
RETURNING transfer_id, type, received_at;

-- name: list_unrecorded
-- A key of PENDING may have been recorded long before.
SELECT id FROM unnest($1::uuid[]) AS requested(id)
WHERE NOT EXISTS (SELECT FROM inbox WHERE transfer_id = requested.id AND type <> 'transfer.pending');

-- name: find_position
SELECT finalized_at, transfer_id FROM positions WHERE route = $1;

-- name: advance_position
-- Forwards only: another worker may have come further.
INSERT INTO positions (route, finalized_at, transfer_id) VALUES ($1, $2, $3)
ON CONFLICT (route) DO UPDATE SET finalized_at = excluded.finalized_at, transfer_id = excluded.transfer_id
WHERE (positions.finalized_at, positions.transfer_id) < (excluded.finalized_at, excluded.transfer_id);

-- name: insert_notifications
-- The inbox has recognized every copy: a conflict here is a fault and must raise an error.
INSERT INTO notifications (id, user_id, transfer_id, kind, title, body)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[]);

-- name: advance_counters
-- For rows that are inserted in the same transaction.
INSERT INTO event_counters (user_id, last_seq)
SELECT * FROM unnest($1::uuid[], $2::bigint[])
ON CONFLICT (user_id) DO UPDATE SET last_seq = event_counters.last_seq + excluded.last_seq
RETURNING user_id, last_seq;

-- name: insert_events
INSERT INTO events (user_id, seq, type, payload)
SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::jsonb[]);

-- name: insert_deliveries
INSERT INTO deliveries (id, notification_id, user_id)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]);

-- name: list_notifications
-- A page of one user's notifications, newest first, from just below the last row of the page before.
SELECT id, kind, transfer_id, title, body, created_at, read_at
FROM notifications
WHERE user_id = $1 AND (created_at, id) < ($2, $3)
ORDER BY created_at DESC, id DESC
LIMIT $4;

-- name: mark_read
-- The first reading counts. Another user's notification is not found.
UPDATE notifications SET read_at = coalesce(read_at, now())
WHERE id = $1 AND user_id = $2
RETURNING id, kind, transfer_id, title, body, created_at, read_at;

-- name: list_notifications_of_transfer
SELECT created_at AS at, user_id, kind FROM notifications WHERE transfer_id = $1 ORDER BY created_at, id;

-- name: claim_deliveries
-- A lease, committed before sending: no transaction is open during the call to the mail server.
WITH due AS MATERIALIZED (
    SELECT id FROM deliveries
    WHERE state = 'waiting' AND claimed_until <= clock_timestamp()
    ORDER BY claimed_until LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE deliveries SET claimed_until = clock_timestamp() + make_interval(secs => $2)
FROM due, notifications
WHERE deliveries.id = due.id AND notifications.id = deliveries.notification_id
RETURNING deliveries.id, deliveries.user_id, deliveries.attempts, notifications.title, notifications.body;

-- name: mark_delivery_sent
UPDATE deliveries
SET state = 'sent', attempts = attempts + 1, sent_at = clock_timestamp(), last_error = NULL
WHERE id = $1 AND state = 'waiting';

-- name: delay_delivery
-- An attempt failed by the e-mail's own fault; it is tried again later.
UPDATE deliveries
SET attempts = attempts + 1, claimed_until = clock_timestamp() + make_interval(secs => $2), last_error = $3
WHERE id = $1 AND state = 'waiting';

-- name: mark_delivery_failed
UPDATE deliveries SET state = 'failed', attempts = attempts + 1, last_error = $2 WHERE id = $1 AND state = 'waiting';

-- name: release_deliveries
-- Not attempted: due again at once, no attempt counted.
UPDATE deliveries SET claimed_until = clock_timestamp() WHERE id = ANY($1::uuid[]) AND state = 'waiting';
