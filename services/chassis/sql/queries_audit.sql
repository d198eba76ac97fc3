-- name: append_audit
-- Acts of one commit.
INSERT INTO audit_log (id, act, actor_id, user_id, subject_kind, subject_id, detail, request_id)
SELECT id, act, actor_id, user_id, subject_kind, subject_id, detail::jsonb, request_id
FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::text[], $6::uuid[], $7::text[], $8::text[])
     AS given(id, act, actor_id, user_id, subject_kind, subject_id, detail, request_id);

-- name: list_audit
-- A page, newest first, below a place. Every service that keeps a log has a statement with these parameters and columns.
SELECT id::text, at, act, actor_id, user_id, subject_kind, subject_id, detail, request_id
FROM audit_log
WHERE at >= coalesce($1::timestamptz, '-infinity') AND at < coalesce($2::timestamptz, 'infinity')
  AND ($3::uuid IS NULL OR actor_id = $3) AND ($4::uuid IS NULL OR user_id = $4) AND ($5::text IS NULL OR act = $5)
  AND (at, id) < (coalesce($6::timestamptz, 'infinity'), coalesce($7::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
ORDER BY at DESC, id DESC LIMIT $8;
