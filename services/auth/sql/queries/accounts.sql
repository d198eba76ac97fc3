-- name: insert_user
-- Returns no row if the address is taken; a concurrent duplicate waits for the first insert.
INSERT INTO users (id, email, name, role, password_hash) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (email) DO NOTHING
RETURNING id;

-- name: find_credentials
-- Read before a transaction is opened.
SELECT id, password_hash, password_changed_at FROM users WHERE email = $1;

-- name: find_credentials_of
-- The same, to verify the password of a logged-in user again.
SELECT id, password_hash, password_changed_at FROM users WHERE id = $1;

-- name: lock_verified_user
-- The user, if the verified password has not changed since. The lock serializes logins, codes, disabling and role changes of a
-- user; everything that decides is in the same row, so that it is read as the previous transaction left it.
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
-- The same password under the current profile: password_changed_at stays.
UPDATE users SET password_hash = $2 WHERE id = $1;
