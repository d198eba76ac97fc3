-- name: lock_owner
-- Creating a key, taking a role and disabling take turns at the user. A session that is being ended at this moment makes no
-- key that would outlive it: whoever ends it either sees the key, or is waited for here.
SELECT role FROM users JOIN sessions ON sessions.user_id = users.id
WHERE users.id = $1 AND sessions.id = $2 AND disabled_at IS NULL AND sessions.revoked_at IS NULL
FOR NO KEY UPDATE OF users FOR SHARE OF sessions;

-- name: count_api_keys
-- The user is locked: nobody adds one meanwhile.
SELECT count(*) FROM api_keys WHERE user_id = $1 AND revoked_at IS NULL;

-- name: insert_api_key
-- No row comes back for a key that would never live; the database's clock decides.
INSERT INTO api_keys (id, user_id, name, scopes, prefix, hash, expires_at, session_id)
SELECT $1, $2, $3, $4, $5, $6, $7, $8 WHERE $7::timestamptz IS NULL OR $7 > clock_timestamp()
RETURNING id, name, scopes, prefix, created_at, last_used_at, expires_at, revoked_at;

-- name: list_api_keys
-- Newest first; those that were revoked are in the audit log.
SELECT id, name, scopes, prefix, created_at, last_used_at, expires_at, revoked_at FROM api_keys
WHERE user_id = $1 AND revoked_at IS NULL ORDER BY id DESC;

-- name: lock_live_api_key
-- For its owner to end; no row when it is another's, unknown, or ended already.
SELECT id, user_id, prefix FROM api_keys WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL FOR UPDATE;

-- name: lock_live_api_keys_of_user
-- In id order, so that two who end all of them do not wait for each other.
SELECT id, user_id, prefix FROM api_keys WHERE user_id = $1 AND revoked_at IS NULL ORDER BY id FOR UPDATE;

-- name: lock_live_api_keys_of_session
-- Those that were made in a session, which is locked, since a moment.
SELECT id, user_id, prefix FROM api_keys
WHERE user_id = $1 AND session_id = $2 AND created_at >= $3 AND revoked_at IS NULL ORDER BY id FOR UPDATE;

-- name: revoke_api_keys
-- The keys are locked and live; the time is taken under the counter's lock, so it never runs backwards along seq.
UPDATE api_keys SET revoked_at = clock_timestamp(), reason = $3, seq = given.seq
FROM unnest($1::uuid[], $2::bigint[]) AS given (id, seq)
WHERE api_keys.id = given.id;

-- name: use_api_key
-- Waits for whoever is ending the key, and then finds nothing. How long the answer may be believed is told in seconds of this
-- clock, so that the asker's clock does not matter; so is when the hour ends that the audit log counts by.
UPDATE api_keys SET last_used_at = clock_timestamp() FROM users
WHERE hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp()) AND users.id = user_id AND disabled_at IS NULL
RETURNING api_keys.id, user_id, users.role, scopes, prefix,
    extract(epoch FROM expires_at - clock_timestamp())::float8 AS seconds_left,
    extract(epoch FROM date_trunc('hour', clock_timestamp(), 'UTC') + interval '1 hour' - clock_timestamp())::float8
        AS hour_seconds_left;

-- name: advance_audited_hour
-- A row comes back for the first use in its hour. The row is locked: of two at once, the second sees what the first wrote.
UPDATE api_keys SET audited_hour = date_trunc('hour', clock_timestamp(), 'UTC')
WHERE id = $1 AND (audited_hour IS NULL OR audited_hour < date_trunc('hour', clock_timestamp(), 'UTC'))
RETURNING id;
