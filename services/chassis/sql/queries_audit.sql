-- name: append_audit
-- Actions of one commit.
INSERT INTO audit_log (id, action, actor_id, user_id, subject_kind, subject_id, detail, request_id)
SELECT id, action, actor_id, user_id, subject_kind, subject_id, detail::jsonb, request_id
FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::text[], $6::uuid[], $7::text[], $8::text[])
     AS given(id, action, actor_id, user_id, subject_kind, subject_id, detail, request_id);

-- name: list_audit
-- A page, newest first, below a position. Every service with an audit log has a statement with these parameters: from, actor, user,
-- action, then the position and the length of the page. There are few kinds of action, each found with one look-up; of each the
-- newest rows of the actor and the user are read. Only one of the five parts runs, depending on the parameters.
WITH RECURSIVE known (action) AS (
    (SELECT action FROM audit_log ORDER BY action LIMIT 1)
    UNION ALL
    SELECT (SELECT audit_log.action FROM audit_log WHERE audit_log.action > known.action ORDER BY audit_log.action LIMIT 1)
    FROM known WHERE known.action IS NOT NULL
), actions (action) AS (
    SELECT action FROM known WHERE action IS NOT NULL AND ($4::text IS NULL OR action = $4)
), page AS (
    (SELECT at, id FROM audit_log
     WHERE $2::uuid IS NULL AND $3::uuid IS NULL AND $4::text IS NULL
          AND at >= coalesce($1::timestamptz, '-infinity')
          AND (at, id) < (coalesce($5::timestamptz, 'infinity'), coalesce($6::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
     ORDER BY at DESC, id DESC LIMIT $7)
    UNION ALL
    SELECT line.* FROM actions CROSS JOIN LATERAL (
        SELECT at, id FROM audit_log
        WHERE action = actions.action
          AND at >= coalesce($1::timestamptz, '-infinity')
          AND (at, id) < (coalesce($5::timestamptz, 'infinity'), coalesce($6::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
        ORDER BY at DESC, id DESC LIMIT $7
    ) AS line
    WHERE $2::uuid IS NULL AND $3::uuid IS NULL AND $4::text IS NOT NULL
    UNION ALL
    SELECT line.* FROM actions CROSS JOIN LATERAL (
        SELECT at, id FROM audit_log
        WHERE actor_id = $2 AND action = actions.action
          AND at >= coalesce($1::timestamptz, '-infinity')
          AND (at, id) < (coalesce($5::timestamptz, 'infinity'), coalesce($6::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
        ORDER BY at DESC, id DESC LIMIT $7
    ) AS line
    WHERE $2::uuid IS NOT NULL AND $3::uuid IS NULL
    UNION ALL
    SELECT line.* FROM actions CROSS JOIN LATERAL (
        SELECT at, id FROM audit_log
        WHERE user_id = $3 AND action = actions.action
          AND at >= coalesce($1::timestamptz, '-infinity')
          AND (at, id) < (coalesce($5::timestamptz, 'infinity'), coalesce($6::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
        ORDER BY at DESC, id DESC LIMIT $7
    ) AS line
    WHERE $2::uuid IS NULL AND $3::uuid IS NOT NULL
    UNION ALL
    SELECT line.* FROM actions CROSS JOIN LATERAL (
        SELECT at, id FROM audit_log
        WHERE actor_id = $2 AND user_id = $3 AND action = actions.action
          AND at >= coalesce($1::timestamptz, '-infinity')
          AND (at, id) < (coalesce($5::timestamptz, 'infinity'), coalesce($6::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
        ORDER BY at DESC, id DESC LIMIT $7
    ) AS line
    WHERE $2::uuid IS NOT NULL AND $3::uuid IS NOT NULL
    ORDER BY at DESC, id DESC LIMIT $7
)
SELECT audit_log.* FROM page JOIN audit_log USING (at, id) ORDER BY at DESC, id DESC;
