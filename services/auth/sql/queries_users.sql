-- name: find_account_by_email
SELECT id, email, name, role, email_verified_at IS NOT NULL AS email_verified, totp_confirmed_at IS NOT NULL AS totp, created_at, disabled_at, disabled_reason
FROM users WHERE email = $1;

-- name: get_account
SELECT id, email, name, role, email_verified_at IS NOT NULL AS email_verified, totp_confirmed_at IS NOT NULL AS totp, created_at, disabled_at, disabled_reason
FROM users WHERE id = $1;

-- name: disable_user
UPDATE users SET disabled_at = clock_timestamp(), disabled_reason = $2 WHERE id = $1;

-- name: enable_user
UPDATE users SET disabled_at = NULL, disabled_reason = NULL WHERE id = $1;

-- name: lock_operators
-- Two operators who disable each other at the same instant would leave nobody: neither sees what the other one does. Not
-- their rows: each holds the other's, and they would wait for each other.
SELECT pg_advisory_xact_lock(hashtext('payflow operators'));

-- name: is_any_operator_left
SELECT EXISTS (SELECT FROM users WHERE role = 'operator' AND disabled_at IS NULL);

-- name: is_former_operator
-- A user who may not act as an operator any more. Not locked: who gets here has waited for their turn.
SELECT EXISTS (SELECT FROM users WHERE id = $1 AND (role <> 'operator' OR disabled_at IS NOT NULL));
