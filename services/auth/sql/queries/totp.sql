-- All of these are about a user who is locked.

-- name: propose_totp
-- Not on yet: nobody is asked for a code before one was shown.
UPDATE users SET totp_secret_sealed = $2 WHERE id = $1 AND totp_confirmed_at IS NULL;

-- name: confirm_totp
-- The step of the code that confirmed is spent by that.
UPDATE users SET totp_confirmed_at = clock_timestamp(), totp_step = $2 WHERE id = $1;

-- name: remove_totp
UPDATE users SET totp_secret_sealed = NULL, totp_confirmed_at = NULL, totp_step = NULL WHERE id = $1;

-- name: spend_totp_step
-- A row comes back only for a step later than every step before: a code that somebody saw being typed opens nothing.
UPDATE users SET totp_step = $2 WHERE id = $1 AND totp_step < $2 RETURNING id;

-- name: spend_recovery_code
UPDATE recovery_codes SET used_at = clock_timestamp() WHERE user_id = $1 AND hash = $2 AND used_at IS NULL RETURNING hash;

-- name: count_recovery_codes
-- Those that still open something.
SELECT count(*) FROM recovery_codes WHERE user_id = $1 AND used_at IS NULL;

-- name: delete_recovery_codes
DELETE FROM recovery_codes WHERE user_id = $1;

-- name: insert_recovery_codes
INSERT INTO recovery_codes (user_id, hash) SELECT $1, unnest($2::bytea[]);
