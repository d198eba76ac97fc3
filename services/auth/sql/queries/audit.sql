-- name: insert_audit
INSERT INTO audit_log (id, action, actor_id, user_id, detail, request_id) VALUES ($1, $2, $3, $4, $5::jsonb, $6);
