-- name: lock_enabled_user
-- The lock serializes the e-mails and tokens of a user. A disabled user gets no e-mail and can spend no token.
SELECT id, email, name, role, email_verified_at IS NOT NULL AS email_verified, totp_confirmed_at IS NOT NULL AS totp
FROM users WHERE id = $1 AND disabled_at IS NULL FOR NO KEY UPDATE;

-- name: lock_enabled_user_by_email
SELECT id, email, name, role, email_verified_at IS NOT NULL AS email_verified, totp_confirmed_at IS NOT NULL AS totp
FROM users WHERE email = $1 AND disabled_at IS NULL FOR NO KEY UPDATE;

-- name: read_email_history
-- How many e-mails of a kind within a day, and the age of the one whose token is valid.
SELECT count(*) AS day_count,
       extract(epoch FROM clock_timestamp() - max(created_at)
           FILTER (WHERE ended_at IS NULL AND expires_at > clock_timestamp()))::float8 AS live_age_seconds
FROM emails WHERE user_id = $1 AND kind = $2 AND created_at > clock_timestamp() - interval '1 day';

-- name: supersede_emails
-- A newer e-mail supersedes earlier ones of its kind, sent or not.
UPDATE emails SET ended_at = clock_timestamp(), ended_as = 'superseded', token_sealed = NULL
WHERE user_id = $1 AND kind = $2 AND ended_at IS NULL;

-- name: withdraw_emails
-- Invalidates the token; an e-mail that is not sent yet is not sent.
UPDATE emails SET ended_at = clock_timestamp(), ended_as = 'withdrawn', token_sealed = NULL
WHERE user_id = $1 AND kind = $2 AND ended_at IS NULL;

-- name: insert_email
-- An e-mail without a token has no hash; token_sealed is then its detail.
INSERT INTO emails (id, user_id, kind, token_hash, token_sealed, expires_at)
VALUES ($1, $2, $3, $4, $5, clock_timestamp() + make_interval(secs => $6));

-- name: find_token_owner
-- The user of a valid token. Read before a password is hashed and before the user is locked; spend_token decides.
SELECT user_id FROM emails
WHERE token_hash = $1 AND kind = $2 AND ended_at IS NULL AND expires_at > clock_timestamp();

-- name: spend_token
-- Returns a row only for a token that is not spent, not superseded and not expired.
UPDATE emails SET ended_at = clock_timestamp(), ended_as = 'spent', token_sealed = NULL
WHERE token_hash = $1 AND kind = $2 AND ended_at IS NULL AND expires_at > clock_timestamp()
RETURNING id;

-- name: mark_email_verified
UPDATE users SET email_verified_at = coalesce(email_verified_at, clock_timestamp()) WHERE id = $1;

-- name: expire_emails
-- E-mails that expired before they were sent are not sent.
WITH late AS MATERIALIZED (
    SELECT id FROM emails
    WHERE token_sealed IS NOT NULL AND claimed_until <= clock_timestamp() AND expires_at <= clock_timestamp()
    ORDER BY claimed_until LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE emails SET ended_at = clock_timestamp(), ended_as = 'expired', token_sealed = NULL
FROM late WHERE emails.id = late.id;

-- name: claim_emails
-- A lease, committed before anything is sent. No other caller gets the token before the lease ends.
-- The name is empty while the address is not verified: anyone can register the address of another person and choose the name,
-- and must not be able to send text to them.
WITH due AS MATERIALIZED (
    SELECT id FROM emails
    WHERE token_sealed IS NOT NULL AND claimed_until <= clock_timestamp() AND expires_at > clock_timestamp()
    ORDER BY claimed_until LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE emails SET claimed_until = clock_timestamp() + make_interval(secs => $2)
FROM due, users
WHERE emails.id = due.id AND users.id = emails.user_id
RETURNING emails.id, emails.kind, users.email,
    CASE WHEN users.email_verified_at IS NULL THEN '' ELSE users.name END AS name, emails.token_sealed, emails.created_at, emails.expires_at,
    emails.attempts;

-- name: mark_email_sent
-- Also if its token was ended meanwhile: the e-mail was sent.
UPDATE emails
SET sent_at = clock_timestamp(), attempts = attempts + 1, token_sealed = NULL, last_error = NULL
WHERE id = $1 AND sent_at IS NULL;

-- name: delay_email
UPDATE emails
SET attempts = attempts + 1, claimed_until = clock_timestamp() + make_interval(secs => $2), last_error = $3
WHERE id = $1 AND token_sealed IS NOT NULL;

-- name: abandon_email
UPDATE emails SET attempts = attempts + 1, token_sealed = NULL, last_error = $2
WHERE id = $1 AND token_sealed IS NOT NULL;

-- name: release_emails
-- Not attempted: due again at once, and no attempt is counted.
UPDATE emails SET claimed_until = clock_timestamp() WHERE id = ANY($1::uuid[]) AND token_sealed IS NOT NULL;
