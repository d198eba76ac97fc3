"""What the notification service can be told: one database transaction per function, and nowhere else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from services.chassis import database, replication
from services.chassis.database import Connection, Pool
from services.contracts.identifiers import new_id
from services.contracts.messages import TransferEvent
from services.contracts.refusals.notification import NotificationNotFound
from services.contracts.topology import TRANSFERS_FINALIZED
from services.notification import feed, metrics, store, templates
from services.notification.feed import Accepted, Line, Notification
from services.notification.store import BEGINNING, Claimed, Finalized, Position, Telling, Told


class Recorded(NamedTuple):
    """What became of a window of events."""

    events_count: int
    notifications_count: int
    repeats_count: int
    user_ids: frozenset[UUID]
    """Whose feeds have new lines."""


class _Draft(NamedTuple):
    """What a transaction is going to write: each notification with its user, and the lines of everybody's feeds."""

    notifications: list[tuple[UUID, Notification]]
    lines: list[Line]


async def record_events(pool: Pool, events: Sequence[TransferEvent], *, with_deliveries: bool) -> Recorded:
    """Tell everybody concerned what was not told before: notifications, feeds, and e-mails if there are any.

    When it returns all are on record, replicated: their messages may be acknowledged.

    Raises:
        CommitUnknown: all or nothing may be written; the same events may come again.
        DatabaseUnavailable, LockTimeout: nothing was written; the same events may come again.
    """
    by_telling = {Telling(event.transfer_id, event.type): event for event in events}
    async with database.transaction(pool) as connection:
        # Whoever inserts the telling of PENDING writes its line: this, or the watch, whose commit is then waited for.
        pending = [Telling(event.transfer_id, feed.PENDING) for event in events]
        won, at = await store.insert_inbox(connection, [*by_telling, *dict.fromkeys(pending)])
        fresh = [event for telling, event in by_telling.items() if telling in won]
        draft = _draft(fresh, won, at) if at else _Draft([], [])
        await _write(connection, draft, with_deliveries=with_deliveries)
        if not won:
            await replication.await_replication(connection)
    for kind, notifications_count in Counter(notification.kind for _, notification in draft.notifications).items():
        metrics.NOTIFICATIONS.labels(kind).inc(notifications_count)
    metrics.REPEATS.inc(len(events) - len(fresh))
    user_ids = frozenset(line.user_id for line in draft.lines)
    return Recorded(len(fresh), len(draft.notifications), len(events) - len(fresh), user_ids)


async def record_accepted(pool: Pool, transfers: Sequence[Accepted]) -> frozenset[UUID]:
    """Tell the senders that these are PENDING, unless they were told that or the outcome before; whose feeds have new lines.

    Raises:
        CommitUnknown: all or nothing may be written; the same transfers may come again.
        DatabaseUnavailable, LockTimeout: nothing was written; the same transfers may come again.
    """
    async with database.transaction(pool) as connection:
        won, _ = await store.insert_inbox(connection, [Telling(one.transfer_id, feed.PENDING) for one in transfers])
        lines = [feed.pending_line(one) for one in transfers if Telling(one.transfer_id, feed.PENDING) in won]
        await _write(connection, _Draft([], lines), with_deliveries=False)
    return frozenset(line.user_id for line in lines)


async def list_untold(pool: Pool, transfer_ids: Sequence[UUID]) -> list[UUID]:
    """Those of the finalized transfers whose outcome was never told."""
    async with database.connection(pool) as connection:
        return await store.list_untold(connection, transfer_ids)


async def find_position(pool: Pool) -> Finalized:
    """Up to where everything that was finalized has been told."""
    async with database.connection(pool) as connection:
        return await store.find_position(connection, TRANSFERS_FINALIZED.type) or BEGINNING


async def advance_position(pool: Pool, position: Finalized) -> None:
    """Record that everything up to there has been told."""
    async with database.transaction(pool) as connection:
        await store.advance_position(connection, TRANSFERS_FINALIZED.type, position)


async def list_notifications(pool: Pool, user_id: UUID, *, below: Position, limit: int) -> list[Notification]:
    """A page of a user's notifications, newest first."""
    async with database.connection(pool) as connection:
        return await store.list_notifications(connection, user_id, below=below, limit=limit)


async def mark_read(pool: Pool, notification_id: UUID, user_id: UUID) -> Notification:
    """Mark a notification as read; again is the same.

    Raises:
        NotificationNotFound: there is none, or it is somebody else's.
    """
    async with database.transaction(pool) as connection:
        notification = await store.mark_read(connection, notification_id, user_id)
    if notification is None:
        raise NotificationNotFound
    return notification


async def list_notifications_of_transfer(pool: Pool, transfer_id: UUID) -> list[Told]:
    """Who was told about a transfer, and when."""
    async with database.connection(pool) as connection:
        return await store.list_notifications_of_transfer(connection, transfer_id)


async def claim_deliveries(pool: Pool, *, limit: int, lease_seconds: float) -> list[Claimed]:
    """Take e-mails that are due, in a commit of its own: nobody else gets them before the lease ends."""
    async with database.transaction(pool) as connection:
        return await store.claim_deliveries(connection, limit=limit, lease_seconds=lease_seconds)


async def mark_delivery_sent(pool: Pool, delivery_id: UUID) -> None:
    """Record that the mail server took an e-mail."""
    async with database.transaction(pool) as connection:
        await store.mark_delivery_sent(connection, delivery_id)
    metrics.DELIVERIES.labels("sent").inc()


async def delay_delivery(pool: Pool, delivery_id: UUID, *, seconds: float, error: str) -> None:
    """Record that an e-mail failed on its own account and is tried again in so many seconds."""
    async with database.transaction(pool) as connection:
        await store.delay_delivery(connection, delivery_id, seconds=seconds, error=error)
    metrics.DELIVERIES.labels("retried").inc()


async def mark_delivery_failed(pool: Pool, delivery_id: UUID, *, error: str) -> None:
    """Record that an e-mail is given up."""
    async with database.transaction(pool) as connection:
        await store.mark_delivery_failed(connection, delivery_id, error=error)
    metrics.DELIVERIES.labels("failed").inc()


async def release_deliveries(pool: Pool, delivery_ids: Sequence[UUID]) -> None:
    """Give claimed e-mails back untried."""
    async with database.transaction(pool) as connection:
        await store.release_deliveries(connection, delivery_ids)


def _draft(events: Sequence[TransferEvent], won: Container[Telling], at: datetime) -> _Draft:
    draft = _Draft([], [])
    for event in events:
        if Telling(event.transfer_id, feed.PENDING) in won:
            draft.lines.append(feed.pending_line(feed.accepted(event)))
        draft.lines.extend(feed.transfer_lines(event))
        for notification in templates.notifications(event):
            recorded = Notification(
                new_id(), notification.kind, event.transfer_id, notification.title, notification.body, at, None
            )
            draft.notifications.append((notification.user_id, recorded))
            draft.lines.append(feed.notification_line(notification.user_id, recorded))
    return draft


async def _write(connection: Connection, draft: _Draft, *, with_deliveries: bool) -> None:
    if draft.notifications:
        await store.insert_notifications(connection, draft.notifications)
        if with_deliveries:
            deliveries = [(new_id(), notification.id, user_id) for user_id, notification in draft.notifications]
            await store.insert_deliveries(connection, deliveries)
    if draft.lines:
        # Last, because from here to the commit the feeds of these users are locked.
        last_seqs = await store.advance_counters(connection, feed.count(draft.lines))
        await store.insert_events(connection, feed.number(draft.lines, last_seqs))
