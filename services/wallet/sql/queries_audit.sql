-- name: list_audit
-- A page of the log, newest first, below a position, like the statement of the same name in the chassis. The owner of a wallet is a
-- column of its account: actions that concern a user are those on the wallets of the user.
WITH RECURSIVE known (action) AS (
    (SELECT action FROM audit_log ORDER BY action LIMIT 1)
    UNION ALL
    SELECT (SELECT audit_log.action FROM audit_log WHERE audit_log.action > known.action ORDER BY audit_log.action LIMIT 1)
    FROM known WHERE known.action IS NOT NULL
), actions (action) AS (
    SELECT action FROM known WHERE action IS NOT NULL AND ($4::text IS NULL OR action = $4)
), owned (id) AS (
    SELECT id FROM accounts WHERE owner_id = $3
), page AS (
    (SELECT at, id FROM audit_log
     WHERE $2::uuid IS NULL AND $3::uuid IS NULL AND $4::text IS NULL
          AND at >= coalesce($1::timestamptz, '-infinity')
          AND (at, id) < (coalesce($5::timestamptz, 'infinity'), coalesce($6::bigint, 9223372036854775807))
     ORDER BY at DESC, id DESC LIMIT $7)
    UNION ALL
    SELECT line.* FROM actions CROSS JOIN LATERAL (
        SELECT at, id FROM audit_log
        WHERE action = actions.action
          AND at >= coalesce($1::timestamptz, '-infinity')
          AND (at, id) < (coalesce($5::timestamptz, 'infinity'), coalesce($6::bigint, 9223372036854775807))
        ORDER BY at DESC, id DESC LIMIT $7
    ) AS line
    WHERE $2::uuid IS NULL AND $3::uuid IS NULL AND $4::text IS NOT NULL
    UNION ALL
    SELECT line.* FROM actions CROSS JOIN LATERAL (
        SELECT at, id FROM audit_log
        WHERE actor_id = $2 AND action = actions.action
          AND at >= coalesce($1::timestamptz, '-infinity')
          AND (at, id) < (coalesce($5::timestamptz, 'infinity'), coalesce($6::bigint, 9223372036854775807))
        ORDER BY at DESC, id DESC LIMIT $7
    ) AS line
    WHERE $2::uuid IS NOT NULL AND $3::uuid IS NULL
    UNION ALL
    SELECT line.* FROM actions CROSS JOIN owned CROSS JOIN LATERAL (
        SELECT at, id FROM audit_log
        WHERE account_id = owned.id AND action = actions.action
          AND at >= coalesce($1::timestamptz, '-infinity')
          AND (at, id) < (coalesce($5::timestamptz, 'infinity'), coalesce($6::bigint, 9223372036854775807))
        ORDER BY at DESC, id DESC LIMIT $7
    ) AS line
    WHERE $2::uuid IS NULL
    UNION ALL
    SELECT line.* FROM actions CROSS JOIN owned CROSS JOIN LATERAL (
        SELECT at, id FROM audit_log
        WHERE actor_id = $2 AND account_id = owned.id AND action = actions.action
          AND at >= coalesce($1::timestamptz, '-infinity')
          AND (at, id) < (coalesce($5::timestamptz, 'infinity'), coalesce($6::bigint, 9223372036854775807))
        ORDER BY at DESC, id DESC LIMIT $7
    ) AS line
    WHERE $2::uuid IS NOT NULL
    ORDER BY at DESC, id DESC LIMIT $7
)
SELECT audit_log.id, at, action, actor_id, owner_id AS user_id,
       CASE WHEN transfer_id IS NULL THEN 'wallet' ELSE 'transfer' END AS subject_kind,
       coalesce(transfer_id, account_id) AS subject_id, detail, request_id
FROM page JOIN audit_log USING (at, id) LEFT JOIN accounts ON accounts.id = account_id ORDER BY at DESC, audit_log.id DESC;
