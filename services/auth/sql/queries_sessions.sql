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
