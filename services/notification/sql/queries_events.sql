-- name: find_last_seqs
-- Before list_events, in a separate statement: a number read here was committed with its lines, so list_events sees them.
-- Feeds without new lines are omitted; most feeds have none.
SELECT requested.at, coalesce(last_seq, 0) AS last_seq
FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS requested(user_id, after, at) LEFT JOIN event_counters USING (user_id)
WHERE after IS NULL OR after <> coalesce(last_seq, 0);

-- name: list_events
-- The next lines of each feed, at most a page of each.
SELECT requested.at, seq, type, payload::text AS payload
FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS requested(user_id, after, at)
CROSS JOIN LATERAL (
    SELECT seq, type, payload FROM events WHERE events.user_id = requested.user_id AND seq > after ORDER BY seq LIMIT $3
) AS line
ORDER BY requested.at, seq;
