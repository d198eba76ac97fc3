-- name: abandon_silent_run
UPDATE proof_runs SET state = 'abandoned', ended_at = clock_timestamp()
WHERE state = 'running' AND updated_at < clock_timestamp() - $1::interval;

-- name: delete_old_runs
DELETE FROM proof_runs WHERE ended_at < clock_timestamp() - $1::interval;

-- name: insert_run
-- Nothing if one is running.
INSERT INTO proof_runs (id, whole, required, instance) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING id;

-- name: find_running
SELECT id FROM proof_runs WHERE state = 'running';

-- name: find_run
-- A silent run is shown as abandoned before the next request ends it.
SELECT id, whole, required,
       CASE WHEN state = 'running' AND updated_at < clock_timestamp() - $2::interval THEN 'abandoned' ELSE state END AS state,
       started_at, updated_at, ended_at, current, checks_done, blocks_done, blocks_total, proof
FROM proof_runs WHERE id = $1;

-- name: update_progress
UPDATE proof_runs SET updated_at = clock_timestamp(), current = $2, checks_done = $3, blocks_done = $4, blocks_total = $5
WHERE id = $1 AND state = 'running' RETURNING id;

-- name: end_run
UPDATE proof_runs SET state = $2, proof = $3, updated_at = clock_timestamp(), ended_at = clock_timestamp(), current = NULL,
       checks_done = $4, blocks_done = $5, blocks_total = $6
WHERE id = $1 AND state = 'running' RETURNING id;
