"""The lines of feeds as rows, for tests: what users are shown, whichever table holds it."""

from __future__ import annotations

LINES = """(
    SELECT user_id, seq, type, (payload->>'id')::uuid AS id, created_at FROM events
    UNION ALL
    SELECT user_id, seq - 1, CASE kind WHEN 'transfer_failed' THEN 'transfer.failed' ELSE 'transfer.completed' END,
           transfer_id, created_at
    FROM notifications WHERE seq IS NOT NULL
    UNION ALL
    SELECT user_id, seq, 'notification', id, created_at FROM notifications WHERE seq IS NOT NULL
) AS lines"""
"""A subquery: user, number and type of each line, and the id of its transfer or notification."""
