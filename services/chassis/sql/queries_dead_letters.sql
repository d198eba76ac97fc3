-- name: archive_dead_letter
-- A copy of a waiting dead letter is counted there. A message that the broker delivers again, because it was not acknowledged,
-- is recognised by its message id and changes nothing, even if an operator has resolved it meanwhile.
INSERT INTO dead_letters (id, queue, reason, attempts, message_id, content_hash, body, subject_ids, request_ids)
SELECT $1::uuid, $2::text, $3::text, $4::integer, $5::text, $6::bytea, $7::bytea, $8::uuid[], $9::text[]
WHERE NOT EXISTS (SELECT FROM dead_letters WHERE queue = $2 AND message_id = $5)
ON CONFLICT (queue, content_hash) WHERE state = 'waiting' DO UPDATE SET
    seen = dead_letters.seen + 1, last_seen_at = clock_timestamp(), message_id = excluded.message_id,
    reason = excluded.reason, attempts = greatest(dead_letters.attempts, excluded.attempts);

-- name: find_dead_letter
SELECT * FROM dead_letters WHERE id = $1;

-- name: lock_dead_letter
SELECT * FROM dead_letters WHERE id = $1 FOR NO KEY UPDATE;

-- name: list_dead_letters
-- A page, newest first, below a position: the newest of each existing queue and state, each found with one look-up.
WITH RECURSIVE known (queue, state) AS (
    (SELECT queue, state FROM dead_letters ORDER BY queue, state LIMIT 1)
    UNION ALL
    SELECT following.* FROM known CROSS JOIN LATERAL (
        SELECT dead_letters.queue, dead_letters.state FROM dead_letters
        WHERE (dead_letters.queue, dead_letters.state) > (known.queue, known.state)
        ORDER BY dead_letters.queue, dead_letters.state LIMIT 1
    ) AS following
), page AS (
    SELECT line.* FROM known CROSS JOIN LATERAL (
        SELECT id, first_seen_at FROM dead_letters
        WHERE queue = known.queue AND state = known.state
          AND (first_seen_at, id)
            < (coalesce($3::timestamptz, 'infinity'), coalesce($4::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
        ORDER BY first_seen_at DESC, id DESC LIMIT $5
    ) AS line
    WHERE ($1::text IS NULL OR queue = $1) AND ($2::text IS NULL OR state = $2)
    ORDER BY first_seen_at DESC, id DESC LIMIT $5
)
SELECT dead_letters.* FROM page JOIN dead_letters USING (id) ORDER BY dead_letters.first_seen_at DESC, id DESC;

-- name: count_dead_letters
SELECT count(*) FROM dead_letters WHERE queue = $1 AND state = 'waiting';

-- name: mark_replayed
-- After the confirm. If the message has failed again by now and was archived again, it stays waiting.
UPDATE dead_letters SET replays = replays + 1, replayed_at = clock_timestamp(),
    state = CASE WHEN state = 'waiting' AND seen = $2::integer THEN 'replayed' ELSE state END
WHERE id = $1
RETURNING *;

-- name: mark_discarded
UPDATE dead_letters SET state = 'discarded', discarded_at = clock_timestamp(), note = $2
WHERE id = $1 AND state = 'waiting'
RETURNING *;
