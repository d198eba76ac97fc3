"""The command that notifies senders of late transfers: one database transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from services.chassis import database
from services.chassis.database import Pool
from services.notification import feed, metrics, store, store_late, templates
from services.notification.feed import LateTransfer


async def record_late(pool: Pool, transfers: Sequence[LateTransfer]) -> frozenset[UUID]:
    """Notify each sender once, unless the outcome is recorded; returns the users with new lines in their feeds.

    Raises:
        CommitUnknown: all or nothing may be written; the same transfers may come again.
        DatabaseUnavailable, LockTimeout: nothing was written; the same transfers may come again.
    """
    by_transfer = {late.id: late for late in transfers}
    counts = Counter(late.sender_id for late in by_transfer.values())
    times = {id_: late.expires_at for id_, late in by_transfer.items()}
    async with database.transaction(pool) as connection:
        last_seqs = await store.advance_counters(connection, counts)
        # Under the lock of the feed: the outcome is recorded before this, and then this is skipped, or after it.
        recorded = await store.list_recorded(connection, times)
        recorded |= await store_late.list_late(connection, list(by_transfer))
        unused = Counter(late.sender_id for id_, late in by_transfer.items() if id_ in recorded)
        if unused:
            last_seqs |= await store.return_numbers(connection, unused)
        rows = feed.number_late([late for id_, late in by_transfer.items() if id_ not in recorded], last_seqs)
        if rows:
            await store_late.insert_late(connection, rows)
            await store.insert_lines(connection, [feed.late_line(row) for row in rows])
    metrics.NOTIFICATIONS.labels(templates.TRANSFER_LATE).inc(len(rows))
    return frozenset(row.user_id for row in rows)
