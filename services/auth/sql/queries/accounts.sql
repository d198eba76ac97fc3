-- name: insert_user
-- No row comes back when the address is taken; of two at once, the second waits for the first.
INSERT INTO users (id, email, name, role, password_hash) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (email) DO NOTHING
RETURNING id;

-- name: find_credentials
-- What a login is verified against, before any transaction is open.
SELECT id, password_hash, password_changed_at FROM users WHERE email = $1;

-- name: find_credentials_of
-- As above, for somebody who is known and has to show their password again.
SELECT id, password_hash, password_changed_at FROM users WHERE id = $1;

-- name: lock_verified_user
-- The user, if the password that was verified is still theirs. The lock orders logins, codes, disabling and role changes of one
-- user; what decides stands in the same row, so that it is what the one before left.
SELECT id, email, name, role, email_verified_at IS NOT NULL AS email_verified,
       totp_confirmed_at IS NOT NULL AS totp, disabled_at IS NOT NULL AS is_disabled,
       totp_secret_sealed, totp_step, floor(extract(epoch FROM clock_timestamp()))::bigint AS now
FROM users WHERE id = $1 AND password_changed_at = $2 FOR NO KEY UPDATE;

-- name: lock_user
SELECT id, email, name, role, email_verified_at IS NOT NULL AS email_verified,
       totp_confirmed_at IS NOT NULL AS totp, disabled_at IS NOT NULL AS is_disabled,
       totp_secret_sealed, totp_step, floor(extract(epoch FROM clock_timestamp()))::bigint AS now
FROM users WHERE id = $1 FOR NO KEY UPDATE;

-- name: lock_user_by_email
SELECT id, email, name, role, email_verified_at IS NOT NULL AS email_verified,
       totp_confirmed_at IS NOT NULL AS totp FROM users WHERE email = $1 FOR NO KEY UPDATE;

-- name: update_password_hash
-- The same password under today's profile: password_changed_at stays.
UPDATE users SET password_hash = $2 WHERE id = $1;
