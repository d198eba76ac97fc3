-- name: append_outbox
-- One row; and if $6, the relay is notified when the transaction commits. PostgreSQL lets commits that notify run one after the other.
-- This is a queue and not a conflict, so its lock timeout is longer than that for rows and keys.
WITH appended AS (
    INSERT INTO outbox (id, topic, body, subject_ids, claimed_until)
    VALUES ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => nullif($5::float8, 0)))
)
SELECT set_config('lock_timeout', '4s', true), pg_notify('outbox', '') WHERE $6;

-- name: take_lease
-- Take the lease if it is free, or renew it; whether this relay has it. One that can publish nothing ($3) does not renew it, and
-- takes it only if no other has done so for the length of a lease. A lease that ends later than any new lease could was
-- written before the clock of the server was set back: it is free.
WITH taken AS (
    INSERT INTO leases (name, holder, expires_at) VALUES ('outbox', $1, clock_timestamp() + make_interval(secs => $2))
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
    WHERE CASE WHEN $3 THEN leases.expires_at < clock_timestamp() - make_interval(secs => $2)
               ELSE leases.holder = excluded.holder OR leases.expires_at < clock_timestamp() END
          OR leases.expires_at > clock_timestamp() + make_interval(secs => 2 * $2)
    RETURNING holder
)
SELECT coalesce((SELECT holder FROM taken), (SELECT holder FROM leases WHERE name = 'outbox')) = $1;

-- name: release_lease
UPDATE leases SET expires_at = clock_timestamp() WHERE name = 'outbox' AND holder = $1;

-- name: claim_outbox
-- Mark the rows that were confirmed ($6), and read the oldest due rows of each topic, for the relay that has the lease, which is
-- renewed if there are any. One statement, so that the mark and the renewal are one commit. It waits for the standby: nothing is
-- published before it is replicated. No transaction is open while the relay publishes. Each topic has its own share of the oldest $5
-- rows: what the broker refuses of one does not hold up the other. The body of a published row is not needed any more.
WITH marked AS (
    UPDATE outbox SET published_at = clock_timestamp(), body = '' WHERE id = ANY($6::uuid[]) AND published_at IS NULL
), oldest AS MATERIALIZED (
    SELECT id, topic, body, coalesce(cardinality(subject_ids), 1) AS items FROM outbox
    WHERE published_at IS NULL AND id <> ALL($6::uuid[])
      AND topic = ANY($4::text[]) AND (claimed_until IS NULL OR claimed_until < clock_timestamp())
    ORDER BY id LIMIT $5
), renewed AS (
    UPDATE leases SET expires_at = clock_timestamp() + make_interval(secs => $2)
    WHERE name = 'outbox' AND holder = $1 AND EXISTS (SELECT FROM oldest)
    RETURNING name
), counted AS (
    SELECT oldest.*, sum(items) OVER (PARTITION BY topic ORDER BY id) AS items_so_far FROM oldest
)
SELECT id, topic, body, items FROM counted, renewed WHERE items_so_far - items < $3 ORDER BY id;

-- name: release_outbox
-- Rows without a confirm are due again after a pause, so that the next rows of their topic come first.
UPDATE outbox SET claimed_until = clock_timestamp() + make_interval(secs => $2)
WHERE id = ANY($1::uuid[]) AND published_at IS NULL;

-- name: measure_outbox
SELECT coalesce(sum(coalesce(cardinality(subject_ids), 1)), 0) AS unpublished,
       extract(epoch FROM clock_timestamp() - min(created_at))::float8 AS lag_seconds
FROM outbox WHERE published_at IS NULL;

-- name: prune_outbox
-- Ids sort by time, so old rows are found without another index.
DELETE FROM outbox WHERE id IN (
    SELECT id FROM outbox WHERE id < $1 AND published_at IS NOT NULL ORDER BY id LIMIT $2
);
