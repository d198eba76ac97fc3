"""Commands of the notification service. Each is one database transaction; no other module opens one but `commands_events`."""

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
from services.notification.feed import Line, Notification, PendingTransfer
from services.notification.store import BEGINNING, Claimed, Finalized, InboxKey, NotifiedUser, Position


class Recorded(NamedTuple):
    """The result of recording a window of events."""

    events_count: int
    notifications_count: int
    repeats_count: int
    user_ids: frozenset[UUID]
    """The users whose feeds have new lines."""


class _Draft(NamedTuple):
    """What a transaction writes: each notification with its user, and the lines of the feeds."""

    notifications: list[tuple[UUID, Notification]]
    lines: list[Line]


async def record_events(pool: Pool, events: Sequence[TransferEvent], *, with_deliveries: bool) -> Recorded:
    """Record new events: notifications and feed lines, and e-mails to send if `with_deliveries`.

    Afterwards all of them are recorded, replicated: their messages may be acknowledged.

    Raises:
        CommitUnknown: all or nothing may be written; the same events may come again.
        DatabaseUnavailable, LockTimeout: nothing was written; the same events may come again.
    """
    by_key = {InboxKey(event.transfer_id, event.type): event for event in events}
    async with database.transaction(pool) as connection:
        # The transaction that inserts the key of PENDING writes its line: this one, or the poller's, whose commit is awaited.
        pending = [InboxKey(event.transfer_id, feed.PENDING) for event in events]
        new_keys, at = await store.insert_inbox(connection, [*by_key, *dict.fromkeys(pending)])
        new = [event for key, event in by_key.items() if key in new_keys]
        draft = _draft(new, new_keys, at) if at else _Draft([], [])
        await _write(connection, draft, with_deliveries=with_deliveries)
        if not new_keys:
            await replication.await_replication(connection)
    for kind, notifications_count in Counter(notification.kind for _, notification in draft.notifications).items():
        metrics.NOTIFICATIONS.labels(kind).inc(notifications_count)
    metrics.REPEATS.inc(len(events) - len(new))
    user_ids = frozenset(line.user_id for line in draft.lines)
    return Recorded(len(new), len(draft.notifications), len(events) - len(new), user_ids)


async def record_pending(pool: Pool, transfers: Sequence[PendingTransfer]) -> frozenset[UUID]:
    """Add PENDING lines to the feeds of senders, unless that or the outcome is recorded; returns the users with new lines.

    Raises:
        CommitUnknown: all or nothing may be written; the same transfers may come again.
        DatabaseUnavailable, LockTimeout: nothing was written; the same transfers may come again.
    """
    async with database.transaction(pool) as connection:
        new_keys, _ = await store.insert_inbox(
            connection, [InboxKey(one.transfer_id, feed.PENDING) for one in transfers]
        )
        lines = [feed.pending_line(one) for one in transfers if InboxKey(one.transfer_id, feed.PENDING) in new_keys]
        await _write(connection, _Draft([], lines), with_deliveries=False)
    return frozenset(line.user_id for line in lines)


async def list_unrecorded(pool: Pool, transfer_ids: Sequence[UUID]) -> list[UUID]:
    """Those of the finalized transfers whose outcome is not recorded."""
    async with database.connection(pool) as connection:
        return await store.list_unrecorded(connection, transfer_ids)


async def find_position(pool: Pool) -> Finalized:
    """The position up to which every finalized transfer is recorded."""
    async with database.connection(pool) as connection:
        return await store.find_position(connection, TRANSFERS_FINALIZED.type) or BEGINNING


async def advance_position(pool: Pool, position: Finalized) -> None:
    """Record that every finalized transfer up to a position is recorded."""
    async with database.transaction(pool) as connection:
        await store.advance_position(connection, TRANSFERS_FINALIZED.type, position)


async def list_notifications(pool: Pool, user_id: UUID, *, below: Position, limit: int) -> list[Notification]:
    """A page of a user's notifications, newest first."""
    async with database.connection(pool) as connection:
        return await store.list_notifications(connection, user_id, below=below, limit=limit)


async def mark_read(pool: Pool, notification_id: UUID, user_id: UUID) -> Notification:
    """Mark a notification as read; again is the same.

    Raises:
        NotificationNotFound: it does not exist, or is another user's.
    """
    async with database.transaction(pool) as connection:
        notification = await store.mark_read(connection, notification_id, user_id)
    if notification is None:
        raise NotificationNotFound
    return notification


async def list_notifications_of_transfer(pool: Pool, transfer_id: UUID) -> list[NotifiedUser]:
    """The notifications of a transfer: user, kind and time."""
    async with database.connection(pool) as connection:
        return await store.list_notifications_of_transfer(connection, transfer_id)


async def claim_deliveries(pool: Pool, *, limit: int, lease_seconds: float) -> list[Claimed]:
    """Claim e-mails that are due, in a separate commit: no other process gets them before the lease ends."""
    async with database.transaction(pool) as connection:
        return await store.claim_deliveries(connection, limit=limit, lease_seconds=lease_seconds)


async def mark_delivery_sent(pool: Pool, delivery_id: UUID) -> None:
    """Record that the mail server accepted an e-mail."""
    async with database.transaction(pool) as connection:
        await store.mark_delivery_sent(connection, delivery_id)
    metrics.DELIVERIES.labels("sent").inc()


async def delay_delivery(pool: Pool, delivery_id: UUID, *, seconds: float, error: str) -> None:
    """Record that an attempt failed by the e-mail's own fault; the next is due in so many seconds."""
    async with database.transaction(pool) as connection:
        await store.delay_delivery(connection, delivery_id, seconds=seconds, error=error)
    metrics.DELIVERIES.labels("retried").inc()


async def mark_delivery_failed(pool: Pool, delivery_id: UUID, *, error: str) -> None:
    """Record that an e-mail will not be sent."""
    async with database.transaction(pool) as connection:
        await store.mark_delivery_failed(connection, delivery_id, error=error)
    metrics.DELIVERIES.labels("failed").inc()


async def release_deliveries(pool: Pool, delivery_ids: Sequence[UUID]) -> None:
    """Return claimed e-mails that were not attempted."""
    async with database.transaction(pool) as connection:
        await store.release_deliveries(connection, delivery_ids)


def _draft(events: Sequence[TransferEvent], new_keys: Container[InboxKey], at: datetime) -> _Draft:
    draft = _Draft([], [])
    for event in events:
        if InboxKey(event.transfer_id, feed.PENDING) in new_keys:
            draft.lines.append(feed.pending_line(feed.pending(event)))
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
        # Last, because the feeds of these users are locked from here to the commit.
        last_seqs = await store.advance_counters(connection, feed.count(draft.lines))
        await store.insert_events(connection, feed.number(draft.lines, last_seqs))
