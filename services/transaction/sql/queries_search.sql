-- name: find_search_floor
-- The transfer before which so many newer ones of the range exist; no row: the whole range has no more than that.
SELECT id, created_at FROM transfers WHERE id = (
    SELECT id FROM transfers WHERE id >= $1 AND id < $2 ORDER BY id DESC OFFSET $3 LIMIT 1
);

-- name: list_by_request
-- There is no index by request: every row of the range is read, in the order of the primary key, which is that of the time.
SELECT id FROM transfers WHERE id >= $1 AND id < $2 AND request_id = $3 ORDER BY id DESC LIMIT $4;

-- name: list_by_key
-- A key is unique for its user, so it is looked up for every sender in the range.
SELECT resource_id FROM idempotency_keys
WHERE key = $3 AND user_id = ANY (ARRAY(SELECT DISTINCT user_id FROM transfers WHERE id >= $1 AND id < $2))
ORDER BY resource_id DESC LIMIT $4;

-- name: list_pending_for
-- Transfers that have been PENDING for longer than so many seconds, the oldest first, in the order of the index.
SELECT id FROM transfers
WHERE status = 'PENDING' AND created_at < clock_timestamp() - make_interval(secs => $1)
ORDER BY expires_at LIMIT $2;

-- name: list_request_ids
SELECT id, request_id FROM transfers WHERE id = ANY ($1::uuid[]);
