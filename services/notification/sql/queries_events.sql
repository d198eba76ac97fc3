-- name: find_last_seqs
-- Before the events, in a statement of its own: what is counted here was committed with its lines, so the next one sees them.
-- Feeds in which nothing is new do not come back; most of those that are asked for are such.
SELECT asked.at, coalesce(last_seq, 0) AS last_seq
FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS asked(user_id, after, at) LEFT JOIN event_counters USING (user_id)
WHERE after IS NULL OR after <> coalesce(last_seq, 0);

-- name: list_events
-- The next lines of each feed, at most so many of each.
SELECT asked.at, seq, type, payload::text AS payload
FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS asked(user_id, after, at)
CROSS JOIN LATERAL (
    SELECT seq, type, payload FROM events WHERE events.user_id = asked.user_id AND seq > after ORDER BY seq LIMIT $3
) AS line
ORDER BY asked.at, seq;
