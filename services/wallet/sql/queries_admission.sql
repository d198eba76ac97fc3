-- name: find_lateness
-- Whether the outcome is older than the frontier and in no block: the sealer never reads it again. Only blocks that reach its time
-- can contain it.
SELECT at < (SELECT frontier FROM blocks ORDER BY number DESC LIMIT 1)
   AND NOT EXISTS (SELECT FROM blocks WHERE latest_at >= outcomes.at AND transfer_id = ANY (blocks.outcomes)) AS late
FROM outcomes WHERE transfer_id = $1;

-- name: insert_admission
-- The first one is kept.
INSERT INTO admissions (transfer_id, reason, operator_id, request_id) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING RETURNING transfer_id;

-- name: find_admission
SELECT transfer_id, reason, operator_id, at, block FROM admissions WHERE transfer_id = $1;

-- name: insert_admission_audit
INSERT INTO audit_log (actor_id, action, transfer_id, detail, request_id)
VALUES ($1, 'outcome_admitted', $2, jsonb_build_object('reason', $3::text), $4);

-- name: list_unsealed_admissions
SELECT array_agg(transfer_id ORDER BY transfer_id), max(outcomes.at)
FROM (SELECT transfer_id FROM admissions WHERE block IS NULL ORDER BY transfer_id LIMIT $1) AS admitted
JOIN outcomes USING (transfer_id);

-- name: set_admission_block
UPDATE admissions SET block = $2 WHERE transfer_id = ANY ($1::uuid[]);
