"""The command that removes what has expired, in one database transaction."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from services.chassis import database
from services.chassis.database import Pool
from services.notification import store, store_retention
from services.notification.store import Finalized
from services.notification.store_retention import Cutoffs


class Removed(NamedTuple):
    """How many rows one pass removed."""

    notifications: int
    inbox: int
    events: int
    late: int


async def find_cutoffs(pool: Pool, *, notification_days: int, event_days: int) -> Cutoffs:
    """The times so many days ago, by the clock of the database."""
    async with database.connection(pool) as connection:
        return await store_retention.find_cutoffs(
            connection, notification_days=notification_days, event_days=event_days
        )


async def remove_expired(pool: Pool, cutoffs: Cutoffs, *, limit: int) -> Removed:
    """Remove at most `limit` rows of each table.

    Notifications and inbox rows are the keys by which copies are recognized. With the first of them a position is committed: an
    event from before it is a copy, so that no catch-up, replay or dead letter brings back what was removed.
    """
    async with database.transaction(pool) as connection:
        notification_ids = await store_retention.list_expired_notifications(
            connection, cutoffs.notifications, limit=limit
        )
        await store_retention.delete_notifications(connection, notification_ids)
        inbox_count = await store_retention.delete_inbox(connection, cutoffs.notifications, limit=limit)
        if notification_ids or inbox_count:
            expired = Finalized(cutoffs.notifications, UUID(int=0))
            await store.advance_position(connection, store.EXPIRED, expired)
        events_count = await store_retention.delete_events(connection, cutoffs.events, limit=limit)
        late_count = await store_retention.delete_late(connection, cutoffs.notifications, limit=limit)
    return Removed(len(notification_ids), inbox_count, events_count, late_count)
