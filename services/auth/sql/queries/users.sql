-- name: update_role
UPDATE users SET role = $2 WHERE id = $1;

-- name: find_user
SELECT id, email, name, role, email_verified_at IS NOT NULL AS email_verified,
       totp_confirmed_at IS NOT NULL AS totp FROM users WHERE id = $1;

-- name: find_recipients_by_email
-- A disabled user is not found, so that the response is that to an unknown address.
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
-- Two operators who disable each other at the same instant would leave nobody: neither sees what the other one does. Not
-- their rows: each holds the other's, and they would wait for each other.
SELECT pg_advisory_xact_lock(hashtext('payflow operators'));

-- name: is_any_operator_left
SELECT EXISTS (SELECT FROM users WHERE role = 'operator' AND disabled_at IS NULL);

-- name: is_former_operator
-- A user who may not act as an operator any more. Not locked: who gets here has waited for their turn.
SELECT EXISTS (SELECT FROM users WHERE id = $1 AND (role <> 'operator' OR disabled_at IS NOT NULL));

-- name: update_password
-- Another password: logins that were verified against the one before open nothing any more.
UPDATE users SET password_hash = $2, password_changed_at = clock_timestamp() WHERE id = $1;
