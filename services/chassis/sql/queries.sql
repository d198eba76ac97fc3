-- name: append_outbox
-- Rows of one commit, which also notifies the relay. PostgreSQL lets commits that notify run one after the other. This is a queue
-- and not a conflict, so its lock timeout is longer than that for rows and keys.
WITH appended AS (
    INSERT INTO outbox (id, topic, body)
    SELECT id, $1, body FROM unnest($2::uuid[], $3::text[]) AS given(id, body)
)
SELECT set_config('lock_timeout', '4s', true), pg_notify('outbox', '');

-- name: claim_outbox
-- A lease, committed before the publish: no transaction is open while the relay waits for the broker.
WITH free AS MATERIALIZED (
    SELECT id FROM outbox
    WHERE published_at IS NULL AND (claimed_until IS NULL OR claimed_until < clock_timestamp())
    ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE outbox SET claimed_until = clock_timestamp() + make_interval(secs => $2)
FROM free WHERE outbox.id = free.id
RETURNING outbox.id, topic, body;

-- name: mark_published
UPDATE outbox SET published_at = clock_timestamp() WHERE id = ANY($1::uuid[]);

-- name: release_outbox
-- Rows without a confirm can be claimed again after a pause, by any relay. Without the pause, rows that are always refused would
-- be claimed first every time.
UPDATE outbox SET claimed_until = clock_timestamp() + make_interval(secs => $2)
WHERE id = ANY($1::uuid[]) AND published_at IS NULL;

-- name: measure_outbox
SELECT count(*) AS unpublished, extract(epoch FROM clock_timestamp() - min(created_at))::float8 AS lag_seconds
FROM outbox WHERE published_at IS NULL;

-- name: prune_outbox
-- Ids sort by time, so old rows are found without another index.
DELETE FROM outbox WHERE id IN (
    SELECT id FROM outbox WHERE id < $1 AND published_at IS NOT NULL ORDER BY id LIMIT $2
);
