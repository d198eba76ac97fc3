-- The user is locked in all of these.

-- name: propose_totp
-- Not enabled yet: a login requires a code only after one was confirmed.
UPDATE users SET totp_secret_sealed = $2 WHERE id = $1 AND totp_confirmed_at IS NULL;

-- name: confirm_totp
-- The time step of the confirming code is spent.
UPDATE users SET totp_confirmed_at = clock_timestamp(), totp_step = $2 WHERE id = $1;

-- name: remove_totp
UPDATE users SET totp_secret_sealed = NULL, totp_confirmed_at = NULL, totp_step = NULL WHERE id = $1;

-- name: spend_totp_step
-- Returns a row only for a step later than every spent one: an observed code cannot be used again.
UPDATE users SET totp_step = $2 WHERE id = $1 AND totp_step < $2 RETURNING id;

-- name: spend_recovery_code
UPDATE recovery_codes SET used_at = clock_timestamp() WHERE user_id = $1 AND hash = $2 AND used_at IS NULL RETURNING hash;

-- name: count_recovery_codes
-- Unused codes.
SELECT count(*) FROM recovery_codes WHERE user_id = $1 AND used_at IS NULL;

-- name: delete_recovery_codes
DELETE FROM recovery_codes WHERE user_id = $1;

-- name: insert_recovery_codes
INSERT INTO recovery_codes (user_id, hash) SELECT $1, unnest($2::bytea[]);
