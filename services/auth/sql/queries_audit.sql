-- name: list_audit
-- A page of the log, newest first, below a place; whatever the act, its subject is a user or nobody.
SELECT id::text, at, act, actor_id, user_id, 'user' AS subject_kind, user_id AS subject_id, detail, request_id
FROM audit_log
WHERE at >= coalesce($1::timestamptz, '-infinity') AND at < coalesce($2::timestamptz, 'infinity')
  AND ($3::uuid IS NULL OR actor_id = $3) AND ($4::uuid IS NULL OR user_id = $4) AND ($5::text IS NULL OR act = $5)
  AND (at, id) < (coalesce($6::timestamptz, 'infinity'), coalesce($7::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
ORDER BY at DESC, id DESC LIMIT $8;
