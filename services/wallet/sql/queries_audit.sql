-- name: list_audit
-- A page of the log, newest first, below a place. Whose wallet it is stands in the accounts.
SELECT audit_log.id::text, at, act, actor_id, owner_id AS user_id, 'wallet' AS subject_kind, account_id AS subject_id,
       '{}'::jsonb AS detail, request_id
FROM audit_log JOIN accounts ON accounts.id = account_id
WHERE at >= coalesce($1::timestamptz, '-infinity') AND at < coalesce($2::timestamptz, 'infinity')
  AND ($3::uuid IS NULL OR actor_id = $3) AND ($4::uuid IS NULL OR owner_id = $4) AND ($5::text IS NULL OR act = $5)
  AND (at, audit_log.id) < (coalesce($6::timestamptz, 'infinity'), coalesce($7::bigint, 9223372036854775807))
ORDER BY at DESC, audit_log.id DESC LIMIT $8;
