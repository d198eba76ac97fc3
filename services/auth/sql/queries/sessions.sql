-- name: insert_session
INSERT INTO sessions (id, user_id, user_agent) VALUES ($1, $2, $3);

-- name: lock_session
-- Refreshes and revocations of one session take turns here; what is read after the lock is read in later statements.
SELECT user_id, revoked_at IS NOT NULL AS revoked FROM sessions WHERE id = $1 FOR UPDATE;

-- name: lock_live_session
-- For its owner to end; no row when it is another's, unknown, or ended already.
SELECT id FROM sessions WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL FOR UPDATE;

-- name: lock_live_sessions_of_user
-- In id order, so that two who end all of them do not wait for each other.
SELECT id FROM sessions WHERE user_id = $1 AND revoked_at IS NULL ORDER BY id FOR UPDATE;

-- name: touch_session
UPDATE sessions SET used_at = clock_timestamp() WHERE id = $1;

-- name: advance_revocations
-- Holds the counter until the commit: nobody can see a higher number before the lower ones.
UPDATE revocation_counter SET last = last + $1 RETURNING last;

-- name: revoke_sessions
-- The sessions are locked and live; the time is taken under the counter's lock, so it never runs backwards along seq.
UPDATE sessions SET revoked_at = clock_timestamp(), reason = $3, seq = given.seq
FROM unnest($1::uuid[], $2::bigint[]) AS given (id, seq)
WHERE sessions.id = given.id;

-- name: read_revocation_counter
-- With the time by the clock that dates access tokens: whoever verifies them judges them by the same one.
SELECT last, extract(epoch FROM clock_timestamp())::float8 AS now FROM revocation_counter;

-- name: list_revocations
-- Sessions and API keys take their numbers from one counter. Older ones have outlived whatever was remembered of them.
SELECT seq, id AS session_id, revoked_at FROM sessions
WHERE seq > $1 AND revoked_at > clock_timestamp() - make_interval(secs => $2)
UNION ALL
SELECT seq, id, revoked_at FROM api_keys
WHERE seq > $1 AND revoked_at > clock_timestamp() - make_interval(secs => $2)
ORDER BY seq LIMIT $3;

-- name: insert_refresh_token
-- Its time, in whole Unix seconds, is also that of the access token that goes with it.
INSERT INTO refresh_tokens (hash, session_id, expires_at)
VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
RETURNING floor(extract(epoch FROM clock_timestamp()))::bigint;

-- name: find_refresh_session
-- Never changes for a token, so it may be read before the session is locked.
SELECT session_id FROM refresh_tokens WHERE hash = $1;

-- name: spend_refresh_token
-- A row comes back only for a token that nobody has used and that is not too old.
UPDATE refresh_tokens SET spent_at = clock_timestamp()
WHERE hash = $1 AND spent_at IS NULL AND expires_at > clock_timestamp()
RETURNING session_id;

-- name: find_refresh_token_spent_at
SELECT spent_at FROM refresh_tokens WHERE hash = $1;

-- name: prune_refresh_tokens
-- Spent tokens are kept to recognise their reuse, but not for ever, and of one session no more than so many: whoever refreshes
-- as fast as they can fills no disk. A token that is forgotten opens nothing, either.
DELETE FROM refresh_tokens WHERE session_id = $1 AND spent_at IS NOT NULL AND (
    expires_at < clock_timestamp()
    OR created_at < (
        SELECT created_at FROM refresh_tokens WHERE session_id = $1 ORDER BY created_at DESC OFFSET $2 LIMIT 1
    )
);

-- name: lock_sessions_beyond
-- Those that were used longest ago, beyond so many. The user is locked: no login adds one meanwhile.
SELECT id FROM sessions WHERE revoked_at IS NULL AND id IN (
    SELECT id FROM sessions WHERE user_id = $1 AND revoked_at IS NULL ORDER BY used_at DESC, id DESC OFFSET $2
)
ORDER BY id FOR UPDATE;

-- name: list_live_sessions
-- Newest first: ids are in the order of time. One whose refresh token has expired cannot go on, so it is over.
SELECT id, created_at, used_at, user_agent FROM sessions
WHERE user_id = $1 AND revoked_at IS NULL AND id < $2
  AND EXISTS (
      SELECT FROM refresh_tokens AS token
      WHERE token.session_id = sessions.id AND token.spent_at IS NULL AND token.expires_at > clock_timestamp()
  )
ORDER BY id DESC LIMIT $3;
