-- name: update_role
UPDATE users SET role = $2 WHERE id = $1;

-- name: find_user
SELECT id, email, name, role, email_verified_at IS NOT NULL AS email_verified,
       totp_confirmed_at IS NOT NULL AS totp FROM users WHERE id = $1;

-- name: find_recipients_by_email
-- A disabled user is not found, so that the response is the same as for an unknown address.
SELECT id, email, name, role, email_verified_at IS NOT NULL AS email_verified,
       totp_confirmed_at IS NOT NULL AS totp FROM users WHERE email = ANY($1::text[]) AND disabled_at IS NULL;

-- name: find_users_by_id
SELECT id, email, name, role, email_verified_at IS NOT NULL AS email_verified,
       totp_confirmed_at IS NOT NULL AS totp FROM users WHERE id = ANY($1::uuid[]);

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
-- Two operators who disable each other at the same time would leave no operator, because neither transaction sees the other.
-- An advisory lock rather than their rows: each transaction locks the row of the other operator, which would deadlock.
SELECT pg_advisory_xact_lock(hashtext('payflow operators'));

-- name: is_any_operator_left
SELECT EXISTS (SELECT FROM users WHERE role = 'operator' AND disabled_at IS NULL);

-- name: is_former_operator
-- A user who is no longer an operator. Not locked: lock_operators has serialized the transactions.
SELECT EXISTS (SELECT FROM users WHERE id = $1 AND (role <> 'operator' OR disabled_at IS NOT NULL));

-- name: update_password
-- A new password: a login that was verified against the old one, but has no session yet, is rejected.
UPDATE users SET password_hash = $2, password_changed_at = clock_timestamp() WHERE id = $1;
