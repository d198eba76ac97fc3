-- name: lock_reader
-- Letters of one user are written and spent in turn. Who is disabled gets none, and spends none.
SELECT id, email, name, role, email_verified_at IS NOT NULL AS email_verified, totp_confirmed_at IS NOT NULL AS totp
FROM users WHERE id = $1 AND disabled_at IS NULL FOR NO KEY UPDATE;

-- name: lock_reader_by_email
SELECT id, email, name, role, email_verified_at IS NOT NULL AS email_verified, totp_confirmed_at IS NOT NULL AS totp
FROM users WHERE email = $1 AND disabled_at IS NULL FOR NO KEY UPDATE;

-- name: read_letter_history
-- How many letters of a kind a day, and how old the one is whose token still holds.
SELECT count(*) AS day_count,
       extract(epoch FROM clock_timestamp() - max(created_at)
           FILTER (WHERE ended_at IS NULL AND expires_at > clock_timestamp()))::float8 AS live_age_seconds
FROM letters WHERE user_id = $1 AND kind = $2 AND created_at > clock_timestamp() - interval '1 day';

-- name: overtake_letters
-- A newer letter of the same kind ends those before it, sent or not.
UPDATE letters SET ended_at = clock_timestamp(), ended_as = 'overtaken', token_sealed = NULL
WHERE user_id = $1 AND kind = $2 AND ended_at IS NULL;

-- name: withdraw_letters
-- A token that is still under way opens nothing any more; the letter is not sent.
UPDATE letters SET ended_at = clock_timestamp(), ended_as = 'withdrawn', token_sealed = NULL
WHERE user_id = $1 AND kind = $2 AND ended_at IS NULL;

-- name: insert_letter
-- One without a token has no hash; what is sealed is then what it tells.
INSERT INTO letters (id, user_id, kind, token_hash, token_sealed, expires_at)
VALUES ($1, $2, $3, $4, $5, clock_timestamp() + make_interval(secs => $6));

-- name: find_letter_owner
-- Whose token this is, if it still holds. Looked at before a password is hashed and before the user is locked; it is
-- spend_letter that decides.
SELECT user_id FROM letters
WHERE token_hash = $1 AND kind = $2 AND ended_at IS NULL AND expires_at > clock_timestamp();

-- name: spend_letter
-- A row comes back only for a token that nobody has used, that no newer one has ended, and that is not too old.
UPDATE letters SET ended_at = clock_timestamp(), ended_as = 'spent', token_sealed = NULL
WHERE token_hash = $1 AND kind = $2 AND ended_at IS NULL AND expires_at > clock_timestamp()
RETURNING id;

-- name: mark_email_verified
UPDATE users SET email_verified_at = coalesce(email_verified_at, clock_timestamp()) WHERE id = $1;

-- name: replace_password
-- Another password: logins verified against the old one, but not yet in, open nothing.
UPDATE users SET password_hash = $2, password_changed_at = clock_timestamp() WHERE id = $1;

-- name: expire_letters
-- What was never sent and holds no more is not sent any more.
WITH late AS MATERIALIZED (
    SELECT id FROM letters
    WHERE token_sealed IS NOT NULL AND claimed_until <= clock_timestamp() AND expires_at <= clock_timestamp()
    ORDER BY claimed_until LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE letters SET ended_at = clock_timestamp(), ended_as = 'expired', token_sealed = NULL
FROM late WHERE letters.id = late.id;

-- name: claim_letters
-- A lease, committed before anything is sent. Its holder is told the token; nobody else is before the lease ends.
-- Whoever registers a stranger's address chooses the name, too, and must not write to the stranger with it.
WITH due AS MATERIALIZED (
    SELECT id FROM letters
    WHERE token_sealed IS NOT NULL AND claimed_until <= clock_timestamp() AND expires_at > clock_timestamp()
    ORDER BY claimed_until LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE letters SET claimed_until = clock_timestamp() + make_interval(secs => $2)
FROM due, users
WHERE letters.id = due.id AND users.id = letters.user_id
RETURNING letters.id, letters.kind, users.email,
    CASE WHEN users.email_verified_at IS NULL THEN '' ELSE users.name END AS name, letters.token_sealed, letters.created_at, letters.expires_at,
    letters.attempts;

-- name: mark_letter_sent
-- Also when it was ended meanwhile: it is out, whatever its token is worth.
UPDATE letters
SET sent_at = clock_timestamp(), attempts = attempts + 1, token_sealed = NULL, last_error = NULL
WHERE id = $1 AND sent_at IS NULL;

-- name: delay_letter
UPDATE letters
SET attempts = attempts + 1, claimed_until = clock_timestamp() + make_interval(secs => $2), last_error = $3
WHERE id = $1 AND token_sealed IS NOT NULL;

-- name: give_letter_up
UPDATE letters SET attempts = attempts + 1, token_sealed = NULL, last_error = $2
WHERE id = $1 AND token_sealed IS NOT NULL;

-- name: release_letters
-- Nothing was tried: due again at once, no attempt counted.
UPDATE letters SET claimed_until = clock_timestamp() WHERE id = ANY($1::uuid[]) AND token_sealed IS NOT NULL;
