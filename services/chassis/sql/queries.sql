-- name: append_outbox
-- Rows of one commit; the wakeup rings the relay when the commit is done, and only then. Those who ring take turns at their
-- commits: a queue, not a conflict, so it may take longer than somebody's rows or keys may be waited for.
WITH appended AS (
    INSERT INTO outbox (id, topic, body)
    SELECT id, $1, body FROM unnest($2::uuid[], $3::text[]) AS given(id, body)
)
SELECT set_config('lock_timeout', '4s', true), pg_notify('outbox', '');

-- name: claim_outbox
-- A lease, committed before anything is published: no transaction is open while the broker is awaited.
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
-- What was not confirmed may be claimed again in a moment, by this relay or another: not at once, or rows that nobody
-- takes would stand before all others for ever.
UPDATE outbox SET claimed_until = clock_timestamp() + make_interval(secs => $2)
WHERE id = ANY($1::uuid[]) AND published_at IS NULL;

-- name: measure_outbox
SELECT count(*) AS unpublished, extract(epoch FROM clock_timestamp() - min(created_at))::float8 AS lag_seconds
FROM outbox WHERE published_at IS NULL;

-- name: prune_outbox
-- Published rows have served. Ids sort by time, so the old ones are found without an index of their own.
DELETE FROM outbox WHERE id IN (
    SELECT id FROM outbox WHERE id < $1 AND published_at IS NOT NULL ORDER BY id LIMIT $2
);
