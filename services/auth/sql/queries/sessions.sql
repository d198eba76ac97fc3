-- name: insert_session
INSERT INTO sessions (id, user_id, user_agent) VALUES ($1, $2, $3);

-- name: lock_session
-- Serializes refreshes and revocations of a session; what depends on the lock is read in later statements.
SELECT user_id, revoked_at IS NOT NULL AS revoked FROM sessions WHERE id = $1 FOR UPDATE;

-- name: lock_live_session
-- Returns no row if the session is unknown, belongs to another user, or has ended.
SELECT id FROM sessions WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL FOR UPDATE;

-- name: lock_live_sessions_of_user
-- In id order, so that two transactions that lock all of them cannot deadlock.
SELECT id FROM sessions WHERE user_id = $1 AND revoked_at IS NULL ORDER BY id FOR UPDATE;

-- name: touch_session
UPDATE sessions SET used_at = clock_timestamp() WHERE id = $1;

-- name: advance_revocations
-- Locks the counter until the commit: no reader can see a higher number before the lower ones.
UPDATE revocation_counter SET last = last + $1 RETURNING last;

-- name: revoke_sessions
-- The sessions are locked and live; the time is read under the lock of the counter, so it never decreases along seq.
UPDATE sessions SET revoked_at = clock_timestamp(), reason = $3, seq = given.seq
FROM unnest($1::uuid[], $2::bigint[]) AS given (id, seq)
WHERE sessions.id = given.id;

-- name: read_revocation_counter
-- With the time of the clock that dates access tokens, so that they are verified by the same clock.
SELECT last, extract(epoch FROM clock_timestamp())::float8 AS now FROM revocation_counter;

-- name: list_revocations
-- Sessions and API keys take their numbers from one counter. For older revocations, no valid token or cached key is left.
SELECT seq, id AS session_id, revoked_at FROM sessions
WHERE seq > $1 AND revoked_at > clock_timestamp() - make_interval(secs => $2)
UNION ALL
SELECT seq, id, revoked_at FROM api_keys
WHERE seq > $1 AND revoked_at > clock_timestamp() - make_interval(secs => $2)
ORDER BY seq LIMIT $3;

-- name: insert_refresh_token
-- Returns the time, in whole Unix seconds, that the access token of the pair is dated with.
INSERT INTO refresh_tokens (hash, session_id, expires_at)
VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
RETURNING floor(extract(epoch FROM clock_timestamp()))::bigint;

-- name: find_refresh_session
-- Never changes for a token, so it can be read before the session is locked.
SELECT session_id FROM refresh_tokens WHERE hash = $1;

-- name: spend_refresh_token
-- Returns a row only for a token that is neither spent nor expired.
UPDATE refresh_tokens SET spent_at = clock_timestamp()
WHERE hash = $1 AND spent_at IS NULL AND expires_at > clock_timestamp()
RETURNING session_id;

-- name: find_refresh_token_spent_at
SELECT spent_at FROM refresh_tokens WHERE hash = $1;

-- name: prune_refresh_tokens
-- Spent tokens are kept to detect their reuse, until they would have expired and up to a limit for each session, so that fast
-- refreshes cannot fill the disk. A deleted token is rejected as well.
DELETE FROM refresh_tokens WHERE session_id = $1 AND spent_at IS NOT NULL AND (
    expires_at < clock_timestamp()
    OR created_at < (
        SELECT created_at FROM refresh_tokens WHERE session_id = $1 ORDER BY created_at DESC OFFSET $2 LIMIT 1
    )
);

-- name: lock_ended_sessions
-- Of the next sessions in the order of their ids, which begin with a time: those that ended so long ago, and created no API key.
-- One that was not used for so long has ended, because its last refresh token has expired. The last id is null at the end.
WITH examined AS MATERIALIZED (
    SELECT id FROM sessions WHERE id > $1 ORDER BY id LIMIT $3
), ended AS MATERIALIZED (
    SELECT sessions.id FROM sessions JOIN examined USING (id)
    WHERE coalesce(revoked_at, used_at) < now() - make_interval(days => $2)
      AND NOT EXISTS (SELECT FROM api_keys WHERE api_keys.session_id = sessions.id)
    ORDER BY sessions.id FOR UPDATE OF sessions SKIP LOCKED
)
SELECT (SELECT id FROM examined ORDER BY id OFFSET $3 - 1) AS last_id, ARRAY(SELECT id FROM ended) AS ids;

-- name: delete_tokens_of_sessions
DELETE FROM refresh_tokens WHERE session_id = ANY($1::uuid[]);

-- name: delete_sessions
DELETE FROM sessions WHERE id = ANY($1::uuid[]);

-- name: lock_sessions_beyond
-- The least recently used ones beyond the limit. The user is locked, so no login adds one meanwhile.
SELECT id FROM sessions WHERE revoked_at IS NULL AND id IN (
    SELECT id FROM sessions WHERE user_id = $1 AND revoked_at IS NULL ORDER BY used_at DESC, id DESC OFFSET $2
)
ORDER BY id FOR UPDATE;

-- name: list_live_sessions
-- Newest first: ids are in the order of time. A session whose refresh token has expired has ended.
SELECT id, created_at, used_at, user_agent FROM sessions
WHERE user_id = $1 AND revoked_at IS NULL AND id < $2
  AND EXISTS (
      SELECT FROM refresh_tokens AS token
      WHERE token.session_id = sessions.id AND token.spent_at IS NULL AND token.expires_at > clock_timestamp()
  )
ORDER BY id DESC LIMIT $3;
