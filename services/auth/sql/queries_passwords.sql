-- name: update_password
-- Another password: logins that were verified against the one before open nothing any more.
UPDATE users SET password_hash = $2, password_changed_at = clock_timestamp() WHERE id = $1;
