-- name: find_last_seqs
-- Before list_lines, in a separate statement: a number read here was committed with its lines, so list_lines sees them.
-- Feeds without new lines are omitted; most feeds have none.
SELECT requested.at, coalesce(last_seq, 0) AS last_seq
FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS requested(user_id, after, at) LEFT JOIN event_counters USING (user_id)
WHERE after IS NULL OR after <> coalesce(last_seq, 0);

-- name: list_lines
-- The next lines of each feed, from both tables, at most a page of each. A line has a type and a payload, or is a notification.
SELECT requested.at, line.*
FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS requested(user_id, after, at)
CROSS JOIN LATERAL (
    (
        SELECT seq, type, payload::text AS payload, NULL::uuid AS id, NULL AS kind, NULL::uuid AS transfer_id, NULL AS title,
               NULL AS body, created_at, NULL AS transfer_kind, NULL::bigint AS amount, NULL AS currency,
               NULL::uuid AS from_wallet_id, NULL::uuid AS to_wallet_id, NULL AS description, NULL AS failure_code,
               NULL::timestamptz AS occurred_at
        FROM events WHERE events.user_id = requested.user_id AND seq > after ORDER BY seq LIMIT $3
    )
    UNION ALL
    (
        SELECT seq, NULL, NULL, id, kind, transfer_id, title, body, created_at, transfer_kind, amount, currency, from_wallet_id,
               to_wallet_id, description, failure_code, occurred_at
        FROM notifications WHERE notifications.user_id = requested.user_id AND seq > after ORDER BY seq LIMIT $3
    )
) AS line
ORDER BY requested.at, seq;
