-- name: list_late
SELECT transfer_id FROM late_notifications WHERE transfer_id = ANY($1::uuid[]);

-- name: insert_late
-- Every copy has been recognized: a conflict here is a fault and must raise an error. The time is that at which the outcome was
-- expected: the notification of the outcome, whose transaction began after it, is newer.
INSERT INTO late_notifications (id, user_id, seq, transfer_id, title, body, created_at)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::text[], $6::text[], $7::timestamptz[]);
