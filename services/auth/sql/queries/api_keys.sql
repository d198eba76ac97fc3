-- name: lock_owner
-- The lock on the user serializes creating a key, removing a role and disabling. A session that is being ended creates no key
-- that would outlive it: the transaction that ends the session either sees the key, or this statement waits for it.
SELECT role FROM users JOIN sessions ON sessions.user_id = users.id
WHERE users.id = $1 AND sessions.id = $2 AND disabled_at IS NULL AND sessions.revoked_at IS NULL
FOR NO KEY UPDATE OF users FOR SHARE OF sessions;

-- name: count_api_keys
-- The user is locked, so no key is added meanwhile.
SELECT count(*) FROM api_keys WHERE user_id = $1 AND revoked_at IS NULL;

-- name: insert_api_key
-- Returns no row for a key that would already have expired, by the clock of the database.
INSERT INTO api_keys (id, user_id, name, scopes, prefix, hash, expires_at, session_id)
SELECT $1, $2, $3, $4, $5, $6, $7, $8 WHERE $7::timestamptz IS NULL OR $7 > clock_timestamp()
RETURNING id, name, scopes, prefix, created_at, last_used_at, expires_at, revoked_at;

-- name: list_api_keys
-- Newest first; revoked keys are in the audit log.
SELECT id, name, scopes, prefix, created_at, last_used_at, expires_at, revoked_at FROM api_keys
WHERE user_id = $1 AND revoked_at IS NULL ORDER BY id DESC;

-- name: lock_live_api_key
-- Returns no row if the key is unknown, belongs to another user, or is revoked.
SELECT id, user_id, prefix FROM api_keys WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL FOR UPDATE;

-- name: lock_live_api_keys_of_user
-- In id order, so that two transactions that lock all of them cannot deadlock.
SELECT id, user_id, prefix FROM api_keys WHERE user_id = $1 AND revoked_at IS NULL ORDER BY id FOR UPDATE;

-- name: lock_live_api_keys_of_session
-- Keys created in a locked session since a point in time.
SELECT id, user_id, prefix FROM api_keys
WHERE user_id = $1 AND session_id = $2 AND created_at >= $3 AND revoked_at IS NULL ORDER BY id FOR UPDATE;

-- name: revoke_api_keys
-- The keys are locked and live; the time is read under the lock of the counter, so it never decreases along seq.
UPDATE api_keys SET revoked_at = clock_timestamp(), reason = $3, seq = given.seq
FROM unnest($1::uuid[], $2::bigint[]) AS given (id, seq)
WHERE api_keys.id = given.id;

-- name: use_api_key
-- Waits for a transaction that is revoking the key, and then returns no row. How long the result can be cached is returned in
-- seconds by this clock, so that the clock of the caller does not matter; so is the end of the audited hour.
UPDATE api_keys SET last_used_at = clock_timestamp() FROM users
WHERE hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp()) AND users.id = user_id AND disabled_at IS NULL
RETURNING api_keys.id, user_id, users.role, scopes, prefix,
    extract(epoch FROM expires_at - clock_timestamp())::float8 AS seconds_left,
    extract(epoch FROM date_trunc('hour', clock_timestamp(), 'UTC') + interval '1 hour' - clock_timestamp())::float8
        AS hour_seconds_left;

-- name: advance_audited_hour
-- Returns a row for the first use in an hour. The row is locked: of two concurrent uses, the second sees the first.
UPDATE api_keys SET audited_hour = date_trunc('hour', clock_timestamp(), 'UTC')
WHERE id = $1 AND (audited_hour IS NULL OR audited_hour < date_trunc('hour', clock_timestamp(), 'UTC'))
RETURNING id;
