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

-- name: is_former_operator
-- A user who may not act as an operator any more. Not locked: two who disable each other must not wait for each other.
SELECT EXISTS (SELECT FROM users WHERE id = $1 AND (role <> 'operator' OR disabled_at IS NOT NULL));
