-- name: find_keys
-- Used (user, key) pairs; and the clock and some wallets that may be frozen, which are returned also when no key is used.
SELECT found.user_id, found.key, found.request_hash, found.resource_id, now, hinted
FROM (SELECT statement_timestamp() AS now, ARRAY(SELECT wallet_id FROM freeze_hints LIMIT $3) AS hinted) AS clock
LEFT JOIN (
    SELECT idempotency_keys.* FROM idempotency_keys
    JOIN unnest($1::uuid[], $2::text[]) AS requested(user_id, key) USING (user_id, key)
) AS found ON true;

-- name: accept_transfers
-- The keys, in the order of the caller; and of those that were new the transfers, and their commands in rows of the outbox, one for
-- each group (the row number and the delay). Returns the new ones; the other keys existed, or occur twice in this batch. If $23, the
-- relay is notified, as in append_outbox: when all keys are inserted, so that the longer lock timeout is not theirs.
WITH new AS (
    INSERT INTO idempotency_keys (user_id, key, request_hash, hash_version, resource_id)
    SELECT user_id, key, request_hash, $18, resource_id
    FROM unnest($2::uuid[], $16::text[], $17::bytea[], $1::uuid[]) AS given(user_id, key, request_hash, resource_id)
    ON CONFLICT DO NOTHING
    RETURNING resource_id
), accepted AS (
    INSERT INTO transfers (id, user_id, recipient_id, kind, amount, currency, from_wallet_id, to_wallet_id, description, metadata,
                           request_hash, request_id, traceparent, created_at, expires_at, expected_by)
    SELECT id, user_id, recipient_id, kind, amount, currency, from_wallet_id, to_wallet_id, description, metadata::jsonb,
           request_hash, request_id, traceparent, created_at, expires_at, expected_by
    FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::bigint[], $6::text[], $7::uuid[], $8::uuid[], $9::text[],
                $10::text[], $11::bytea[], $12::text[], $13::text[], $14::timestamptz[], $15::timestamptz[], $24::timestamptz[])
         AS given(id, user_id, recipient_id, kind, amount, currency, from_wallet_id, to_wallet_id, description, metadata,
                  request_hash, request_id, traceparent, created_at, expires_at, expected_by)
    WHERE id IN (SELECT resource_id FROM new)
), queued AS (
    INSERT INTO outbox (id, topic, body, subject_ids, claimed_until)
    SELECT (array_agg(id ORDER BY id))[1], $19::text, string_agg(command, ',' ORDER BY id), array_agg(id ORDER BY id),
           clock_timestamp() + make_interval(secs => nullif(delay_seconds, 0))
    FROM unnest($1::uuid[], $20::text[], $21::integer[], $22::float8[]) AS given(id, command, row_number, delay_seconds)
    WHERE id IN (SELECT resource_id FROM new)
    GROUP BY row_number, delay_seconds
)
SELECT array_agg(resource_id) AS ids,
       CASE WHEN $23 AND count(*) > 0 THEN set_config('lock_timeout', '4s', true) END,
       CASE WHEN $23 AND count(*) > 0 THEN pg_notify('outbox', '') END
FROM new;

-- name: finalize_transfers
-- Changes only PENDING transfers, locked in id order so that two processes cannot deadlock; returns those that changed.
WITH result AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::text[]) AS result(id, outcome, reason, at, attempt)
), locked AS MATERIALIZED (
    SELECT id FROM transfers WHERE id = ANY($1::uuid[]) AND status = 'PENDING' ORDER BY id FOR NO KEY UPDATE
)
UPDATE transfers SET
    status       = CASE result.outcome WHEN 'posted' THEN 'COMPLETED' ELSE 'FAILED' END,
    completed_at = CASE result.outcome WHEN 'posted' THEN result.at END,
    failed_at    = CASE result.outcome WHEN 'posted' THEN NULL ELSE result.at END,
    failure_code = result.reason,
    finalized_at = clock_timestamp(),
    attempts     = CASE WHEN result.attempt IS NULL THEN attempts ELSE attempts || result.attempt::jsonb END
FROM result JOIN locked USING (id)
WHERE transfers.id = result.id AND transfers.status = 'PENDING'
RETURNING transfers.id, kind, status, amount, currency, from_wallet_id, to_wallet_id, user_id, recipient_id, description,
          failure_code, result.at, request_id, traceparent, created_at, expected_by;

-- name: find_finalized_horizon
-- No transfer can appear below it any more: a later one is finalized by a transaction that has not begun. To be read before the
-- finalized transfers, in a separate statement.
SELECT least(min(xact_start), clock_timestamp() - make_interval(secs => $1)) FROM pg_stat_activity
WHERE datname = current_database();

-- name: list_finalized
SELECT finalized_at, id FROM transfers
WHERE (finalized_at, id) > ($1, $2) AND finalized_at < $3
ORDER BY finalized_at, id LIMIT $4;

-- name: list_pending
-- Transfers that are PENDING for longer than a moment; most are final before. In the order of the index.
SELECT id, kind, amount, currency, from_wallet_id, to_wallet_id, user_id, description, expires_at FROM transfers
WHERE status = 'PENDING' AND expires_at >= $1 AND created_at < clock_timestamp() - make_interval(secs => $2)
ORDER BY expires_at LIMIT $3;

-- name: list_late
-- A transfer expires at or after the time at which it is expected: the index bounds the rows that are read.
SELECT id, kind, amount, currency, user_id, description, expected_by, expires_at FROM transfers
WHERE status = 'PENDING' AND conflicted_at IS NULL AND expires_at >= $1
  AND expected_by >= $1 AND expected_by < clock_timestamp()
ORDER BY expected_by LIMIT $2;

-- name: list_outcomes
-- The rows that finalize_transfers returned.
SELECT id, kind, status, amount, currency, from_wallet_id, to_wallet_id, user_id, recipient_id, description,
       failure_code, coalesce(completed_at, failed_at) AS at, request_id, traceparent
FROM transfers WHERE id = ANY($1::uuid[]) AND status <> 'PENDING';

-- name: record_attempts
-- Attempts of a worker that could not finish. Each attempt of each worker is recorded once, at most twenty per transfer.
UPDATE transfers SET attempts = attempts || given.attempt::jsonb
FROM unnest($1::uuid[], $2::text[]) AS given(id, attempt)
WHERE transfers.id IN (SELECT id FROM transfers WHERE id = ANY($1::uuid[]) AND status = 'PENDING' ORDER BY id FOR NO KEY UPDATE)
  AND transfers.id = given.id AND status = 'PENDING' AND jsonb_array_length(attempts) < 20
  AND NOT attempts @> jsonb_build_array(given.attempt::jsonb - 'picked_up_at' - 'queued_at');

-- name: mark_conflicted
UPDATE transfers SET conflicted_at = clock_timestamp()
WHERE id = ANY($1::uuid[]) AND status = 'PENDING' AND conflicted_at IS NULL
RETURNING id;

-- name: list_stale
-- Oldest first, without conflicted transfers, which only an operator can resolve.
SELECT id, request_hash FROM transfers
WHERE status = 'PENDING' AND expires_at < clock_timestamp() AND conflicted_at IS NULL
ORDER BY expires_at LIMIT $1;

-- name: find_transfers
SELECT id, user_id, recipient_id, kind, status, amount, currency, from_wallet_id, to_wallet_id, description, metadata,
       request_hash, created_at, expires_at, completed_at, failed_at, failure_code, expected_by
FROM transfers WHERE id = ANY($1::uuid[]);

-- name: list_terminal
SELECT id FROM transfers WHERE id = ANY($1::uuid[]) AND status <> 'PENDING';

-- name: list_transfers
-- What this user may see: sent transfers in any state, received ones when completed. Newest first, below a position.
-- `sent` and `received` are the combinations of the user's transfers, found with one index look-up each. The page is made of the
-- newest of each combination: at most a page of rows is read per combination, whatever the filter and however many do not match.
WITH RECURSIVE sent (from_wallet_id, status, kind) AS (
    (SELECT from_wallet_id, status, kind FROM transfers WHERE user_id = $1 ORDER BY from_wallet_id, status, kind LIMIT 1)
    UNION ALL
    SELECT following.* FROM sent CROSS JOIN LATERAL (
        SELECT transfers.from_wallet_id, transfers.status, transfers.kind FROM transfers
        WHERE user_id = $1
          AND (transfers.from_wallet_id, transfers.status, transfers.kind) > (sent.from_wallet_id, sent.status, sent.kind)
        ORDER BY transfers.from_wallet_id, transfers.status, transfers.kind LIMIT 1
    ) AS following
), received (to_wallet_id, kind) AS (
    (SELECT to_wallet_id, kind FROM transfers WHERE recipient_id = $1 AND status = 'COMPLETED'
     ORDER BY to_wallet_id, kind LIMIT 1)
    UNION ALL
    SELECT following.* FROM received CROSS JOIN LATERAL (
        SELECT transfers.to_wallet_id, transfers.kind FROM transfers
        WHERE recipient_id = $1 AND status = 'COMPLETED'
          AND (transfers.to_wallet_id, transfers.kind) > (received.to_wallet_id, received.kind)
        ORDER BY transfers.to_wallet_id, transfers.kind LIMIT 1
    ) AS following
), page AS (
    SELECT line.* FROM sent CROSS JOIN LATERAL (
        SELECT created_at, id FROM transfers
        WHERE user_id = $1 AND from_wallet_id = sent.from_wallet_id AND status = sent.status AND kind = sent.kind
          AND created_at >= coalesce($4::timestamptz, '-infinity') AND (created_at, id) < ($5, $6)
        ORDER BY created_at DESC, id DESC LIMIT $7
    ) AS line
    WHERE ($2::text IS NULL OR status = $2) AND ($3::text IS NULL OR kind = $3)
    UNION
    SELECT line.* FROM received CROSS JOIN LATERAL (
        SELECT created_at, id FROM transfers
        WHERE recipient_id = $1 AND to_wallet_id = received.to_wallet_id AND kind = received.kind AND status = 'COMPLETED'
          AND created_at >= coalesce($4::timestamptz, '-infinity') AND (created_at, id) < ($5, $6)
        ORDER BY created_at DESC, id DESC LIMIT $7
    ) AS line
    WHERE coalesce($2::text, 'COMPLETED') = 'COMPLETED' AND ($3::text IS NULL OR kind = $3)
    ORDER BY created_at DESC, id DESC LIMIT $7
)
SELECT id, user_id, recipient_id, kind, status, amount, currency, from_wallet_id, to_wallet_id, description, metadata,
       request_hash, created_at, expires_at, completed_at, failed_at, failure_code, expected_by
FROM transfers JOIN page USING (id, created_at) ORDER BY created_at DESC, id DESC;

-- name: list_transfers_of_wallet
-- The same for transfers from or to one wallet, which may be the user's own or that of the other party. Terminal transfers from one
-- wallet to another are one range for each sender; those of an external account have several. PENDING transfers to the wallet are
-- found among the user's PENDING transfers. `sources` are the wallets that the user has sent from, `destinations` those in which the
-- user has received: their owner never changes, so every transfer to one of them is the user's.
WITH RECURSIVE sources (wallet_id) AS (
    (SELECT from_wallet_id FROM transfers WHERE user_id = $1 ORDER BY from_wallet_id LIMIT 1)
    UNION ALL
    SELECT following.* FROM sources CROSS JOIN LATERAL (
        SELECT from_wallet_id FROM transfers WHERE user_id = $1 AND from_wallet_id > sources.wallet_id
        ORDER BY from_wallet_id LIMIT 1
    ) AS following
), destinations (wallet_id) AS (
    (SELECT to_wallet_id FROM transfers WHERE recipient_id = $1 AND status = 'COMPLETED' ORDER BY to_wallet_id LIMIT 1)
    UNION ALL
    SELECT following.* FROM destinations CROSS JOIN LATERAL (
        SELECT to_wallet_id FROM transfers
        WHERE recipient_id = $1 AND status = 'COMPLETED' AND to_wallet_id > destinations.wallet_id
        ORDER BY to_wallet_id LIMIT 1
    ) AS following
), senders (to_wallet_id, user_id) AS (
    SELECT destinations.wallet_id, first.user_id FROM destinations CROSS JOIN LATERAL (
        SELECT user_id FROM transfers
        WHERE from_wallet_id = $8 AND to_wallet_id = destinations.wallet_id AND status <> 'PENDING'
        ORDER BY user_id LIMIT 1
    ) AS first
    UNION ALL
    SELECT senders.to_wallet_id, following.user_id FROM senders CROSS JOIN LATERAL (
        SELECT transfers.user_id FROM transfers
        WHERE from_wallet_id = $8 AND to_wallet_id = senders.to_wallet_id AND status <> 'PENDING'
          AND transfers.user_id > senders.user_id
        ORDER BY transfers.user_id LIMIT 1
    ) AS following
), groups (status, kind) AS (
    SELECT status, kind FROM unnest(ARRAY['PENDING', 'COMPLETED', 'FAILED']) AS status, unnest(ARRAY['transfer', 'deposit']) AS kind
    WHERE ($2::text IS NULL OR status = $2) AND ($3::text IS NULL OR kind = $3)
), page AS (
    SELECT line.* FROM groups CROSS JOIN LATERAL (
        SELECT created_at, id FROM transfers
        WHERE user_id = $1 AND from_wallet_id = $8 AND status = groups.status AND kind = groups.kind
          AND created_at >= coalesce($4::timestamptz, '-infinity') AND (created_at, id) < ($5, $6)
        ORDER BY created_at DESC, id DESC LIMIT $7
    ) AS line
    UNION
    SELECT line.* FROM groups CROSS JOIN sources CROSS JOIN LATERAL (
        SELECT created_at, id FROM transfers
        WHERE from_wallet_id = sources.wallet_id AND to_wallet_id = $8 AND user_id = $1
          AND status = groups.status AND kind = groups.kind AND status <> 'PENDING'
          AND created_at >= coalesce($4::timestamptz, '-infinity') AND (created_at, id) < ($5, $6)
        ORDER BY created_at DESC, id DESC LIMIT $7
    ) AS line
    WHERE groups.status <> 'PENDING'
    UNION
    SELECT line.* FROM groups CROSS JOIN sources CROSS JOIN LATERAL (
        SELECT created_at, id FROM transfers
        WHERE user_id = $1 AND from_wallet_id = sources.wallet_id AND status = 'PENDING' AND kind = groups.kind AND to_wallet_id = $8
          AND created_at >= coalesce($4::timestamptz, '-infinity') AND (created_at, id) < ($5, $6)
        ORDER BY created_at DESC, id DESC LIMIT $7
    ) AS line
    WHERE groups.status = 'PENDING'
    UNION
    SELECT line.* FROM groups CROSS JOIN LATERAL (
        SELECT created_at, id FROM transfers
        WHERE recipient_id = $1 AND to_wallet_id = $8 AND kind = groups.kind AND status = 'COMPLETED'
          AND created_at >= coalesce($4::timestamptz, '-infinity') AND (created_at, id) < ($5, $6)
        ORDER BY created_at DESC, id DESC LIMIT $7
    ) AS line
    WHERE groups.status = 'COMPLETED'
    UNION
    SELECT line.* FROM groups CROSS JOIN senders CROSS JOIN LATERAL (
        SELECT created_at, id FROM transfers
        WHERE from_wallet_id = $8 AND to_wallet_id = senders.to_wallet_id AND user_id = senders.user_id
          AND status = 'COMPLETED' AND kind = groups.kind
          AND created_at >= coalesce($4::timestamptz, '-infinity') AND (created_at, id) < ($5, $6)
        ORDER BY created_at DESC, id DESC LIMIT $7
    ) AS line
    WHERE groups.status = 'COMPLETED'
    ORDER BY created_at DESC, id DESC LIMIT $7
)
SELECT id, user_id, recipient_id, kind, status, amount, currency, from_wallet_id, to_wallet_id, description, metadata,
       request_hash, created_at, expires_at, completed_at, failed_at, failure_code, expected_by
FROM transfers JOIN page USING (id, created_at) ORDER BY created_at DESC, id DESC;

-- name: find_by_key
SELECT resource_id FROM idempotency_keys WHERE user_id = $1 AND key = $2;

-- name: list_pending_amounts
-- PENDING transfers of these users from these wallets of theirs, for the funds check.
SELECT id, from_wallet_id, amount FROM transfers
JOIN unnest($1::uuid[], $2::uuid[]) AS source(user_id, from_wallet_id) USING (user_id, from_wallet_id)
WHERE status = 'PENDING' LIMIT $3;

-- name: find_wallets
SELECT id, owner_id, currency FROM wallets WHERE id = ANY($1::uuid[])
UNION
SELECT id, owner_id, wallets.currency FROM wallets
JOIN unnest($2::uuid[], $3::text[]) AS requested(owner, currency) ON owner_id = requested.owner AND wallets.currency = requested.currency
UNION
SELECT id, owner_id, currency FROM wallets WHERE owner_id IS NULL AND currency = ANY($4::text[]);

-- name: insert_wallets
-- Sorted by the caller.
INSERT INTO wallets (id, owner_id, currency)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[]) ON CONFLICT DO NOTHING;

-- name: list_freeze_hints
SELECT wallet_id FROM freeze_hints WHERE wallet_id = ANY($1::uuid[]);

-- name: insert_freeze_hint
INSERT INTO freeze_hints (wallet_id) VALUES ($1) ON CONFLICT DO NOTHING;

-- name: delete_freeze_hint
DELETE FROM freeze_hints WHERE wallet_id = $1;

-- name: find_steps
-- Everything that this service recorded about one transfer. Its command is in a row of the outbox with others that were accepted in the
-- same commit; the row has the smallest of their ids, which is at least $2.
SELECT transfers.id, transfers.user_id, transfers.recipient_id, transfers.status, transfers.created_at, transfers.expires_at,
       transfers.completed_at, transfers.failed_at, transfers.failure_code, transfers.attempts, transfers.conflicted_at,
       outbox.id IS NOT NULL AS in_outbox, outbox.published_at, clock_timestamp() AS now,
       (SELECT coalesce(jsonb_agg(jsonb_build_object('state', state, 'attempts', dead_letters.attempts,
                                                     'at', last_seen_at AT TIME ZONE 'UTC',
                                                     'replayed_at', replayed_at AT TIME ZONE 'UTC',
                                                     'discarded_at', discarded_at AT TIME ZONE 'UTC')
                                  ORDER BY dead_letters.id), '[]')
        FROM dead_letters WHERE subject_ids @> ARRAY[transfers.id]) AS dead_letters
FROM transfers LEFT JOIN LATERAL (
    SELECT outbox.id, published_at FROM outbox
    WHERE outbox.id BETWEEN $2 AND transfers.id AND topic = 'transfers.requested'
      AND (outbox.id = transfers.id OR subject_ids @> ARRAY[transfers.id])
    ORDER BY outbox.id DESC LIMIT 1
) AS outbox ON true
WHERE transfers.id = $1;

-- name: record_heartbeat
INSERT INTO heartbeats (name, at, state) VALUES ($1, clock_timestamp(), $2::jsonb)
ON CONFLICT (name) DO UPDATE SET at = excluded.at, state = excluded.state;

-- name: delete_old_heartbeats
-- Those of processes that have ended. The last success of a job is kept.
DELETE FROM heartbeats WHERE at < clock_timestamp() - make_interval(secs => $1) AND state ->> 'role' IN ('worker', 'relay');

-- name: list_heartbeats
SELECT name, at, state, extract(epoch FROM clock_timestamp() - at)::float8 AS age_seconds FROM heartbeats;

-- name: measure_pending
-- How many transfers are PENDING, how long the oldest has waited, and how many have expired.
SELECT count(*) AS pending,
       coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 AS oldest_seconds,
       count(*) FILTER (WHERE expires_at < clock_timestamp()) AS stale
FROM transfers WHERE status = 'PENDING';

-- name: find_transfer_states
SELECT id, status, conflicted_at IS NOT NULL AS is_conflicted, expires_at < clock_timestamp() AS is_expired,
       from_wallet_id, to_wallet_id, amount, currency, encode(request_hash, 'hex'), expires_at
FROM transfers WHERE id = ANY($1::uuid[]);
