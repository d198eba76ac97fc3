-- name: advance_counters
-- Locks the feeds of these users until the commit.
INSERT INTO event_counters (user_id, last_seq)
SELECT * FROM unnest($1::uuid[], $2::bigint[])
ON CONFLICT (user_id) DO UPDATE SET last_seq = event_counters.last_seq + excluded.last_seq
RETURNING user_id, last_seq;

-- name: return_numbers
-- Numbers that this transaction has taken and does not use.
UPDATE event_counters SET last_seq = last_seq - unused.count
FROM unnest($1::uuid[], $2::bigint[]) AS unused(user_id, count)
WHERE event_counters.user_id = unused.user_id
RETURNING event_counters.user_id, last_seq;

-- name: list_recorded
-- In a statement after the one that locked the feeds: what another transaction recorded before it is visible now. What is older
-- than the position of the retention may have been recorded and removed: both are seen in one snapshot.
SELECT transfer_id FROM notifications WHERE transfer_id = ANY($1::uuid[])
UNION
SELECT transfer_id FROM inbox WHERE transfer_id = ANY($1::uuid[]) AND type <> 'transfer.pending'
UNION
SELECT event.transfer_id FROM unnest($1::uuid[], $2::timestamptz[]) AS event(transfer_id, at)
WHERE at < (SELECT finalized_at FROM positions WHERE route = $3);

-- name: list_unrecorded
-- A key of PENDING may have been recorded long before.
SELECT id FROM unnest($1::uuid[]) AS requested(id)
EXCEPT
SELECT transfer_id FROM notifications WHERE transfer_id = ANY($1::uuid[])
EXCEPT
SELECT transfer_id FROM inbox WHERE transfer_id = ANY($1::uuid[]) AND type <> 'transfer.pending';

-- name: insert_inbox
-- Returns the new rows.
INSERT INTO inbox (transfer_id, type)
SELECT * FROM unnest($1::uuid[], $2::text[])
ON CONFLICT DO NOTHING
RETURNING transfer_id;

-- name: find_position
SELECT finalized_at, transfer_id FROM positions WHERE route = $1;

-- name: advance_position
-- Forwards only: another worker may have come further.
INSERT INTO positions (route, finalized_at, transfer_id) VALUES ($1, $2, $3)
ON CONFLICT (route) DO UPDATE SET finalized_at = excluded.finalized_at, transfer_id = excluded.transfer_id
WHERE (positions.finalized_at, positions.transfer_id) < (excluded.finalized_at, excluded.transfer_id);

-- name: insert_notifications
-- Every copy has been recognized: a conflict here is a fault and must raise an error.
INSERT INTO notifications (id, user_id, seq, transfer_id, kind, title, body, transfer_kind, amount, currency, from_wallet_id,
                           to_wallet_id, description, failure_code, occurred_at)
SELECT * FROM unnest(
    $1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::text[],
    $11::uuid[], $12::uuid[], $13::text[], $14::text[], $15::timestamptz[]
);

-- name: insert_lines
INSERT INTO events (user_id, seq, type, payload)
SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::jsonb[]);

-- name: insert_deliveries
INSERT INTO deliveries (id, notification_id, user_id)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]);

-- name: list_notifications
-- A page of one user's notifications, newest first, from just below the last row of the page before; $2 and $3 are null for the
-- first page. By number; then those without one, which earlier releases recorded, by time.
WITH below AS (
    SELECT coalesce(max(seq), CASE WHEN $3::uuid IS NULL THEN 9223372036854775807 END) AS seq
    FROM (
        SELECT seq FROM notifications WHERE id = $3 AND user_id = $1
        UNION ALL
        SELECT seq FROM late_notifications WHERE id = $3 AND user_id = $1
    ) AS last
), page AS (
    (SELECT seq, id, kind, transfer_id, title, body, created_at, read_at FROM notifications
     WHERE user_id = $1 AND seq < (SELECT seq FROM below) ORDER BY seq DESC LIMIT $4)
    UNION ALL
    (SELECT seq, id, 'transfer_late', transfer_id, title, body, created_at, read_at FROM late_notifications
     WHERE user_id = $1 AND seq < (SELECT seq FROM below) ORDER BY seq DESC LIMIT $4)
    UNION ALL
    (SELECT seq, id, kind, transfer_id, title, body, created_at, read_at FROM notifications
     WHERE user_id = $1 AND seq IS NULL
       AND (created_at, id) < (SELECT CASE WHEN seq IS NULL THEN $2 ELSE 'infinity'::timestamptz END, $3 FROM below)
     ORDER BY created_at DESC, id DESC LIMIT $4)
)
SELECT id, kind, transfer_id, title, body, created_at, read_at FROM page
ORDER BY seq DESC NULLS LAST, created_at DESC, id DESC LIMIT $4;

-- name: mark_read
-- The first reading counts. Another user's notification is not found.
WITH late AS (
    UPDATE late_notifications SET read_at = coalesce(read_at, now())
    WHERE id = $1 AND user_id = $2
    RETURNING id, 'transfer_late' AS kind, transfer_id, title, body, created_at, read_at
), outcome AS (
    UPDATE notifications SET read_at = coalesce(read_at, now())
    WHERE id = $1 AND user_id = $2
    RETURNING id, kind, transfer_id, title, body, created_at, read_at
)
SELECT * FROM outcome UNION ALL SELECT * FROM late;

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
