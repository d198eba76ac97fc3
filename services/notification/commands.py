"""Commands of the notification service. Each is one database transaction; no other module opens one but `commands_events`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from services.chassis import database
from services.chassis.database import Connection, Pool
from services.contracts.identifiers import new_id_text
from services.contracts.messages import TransferEvent
from services.contracts.money import TEST_CURRENCY
from services.contracts.refusals.notification import NotificationNotFound
from services.contracts.topology import TRANSFERS_FINALIZED
from services.notification import feed, metrics, store
from services.notification.feed import Entry, Notification, PendingTransfer
from services.notification.store import BEGINNING, Claimed, Finalized, InboxKey, NotifiedUser, Position


class Recorded(NamedTuple):
    """The result of recording a window of events."""

    events_count: int
    notifications_count: int
    repeats_count: int
    user_ids: frozenset[UUID]
    """The users whose feeds have new lines."""


async def record_events(pool: Pool, events: Sequence[TransferEvent], *, with_deliveries: bool) -> Recorded:
    """Record new events: notifications and feed lines, and e-mails to send if `with_deliveries`.

    Afterwards all of them are recorded, replicated: their messages may be acknowledged.

    Raises:
        CommitUnknown: all or nothing may be written; the same events may come again.
        DatabaseUnavailable, LockTimeout: nothing was written; the same events may come again.
    """
    by_transfer = {event.transfer_id: event for event in events}
    entries = [entry for event in by_transfer.values() for entry in feed.entries(event)]
    async with database.transaction(pool) as connection:
        # Every event has a viewer. The lock of the feeds, held to the commit, lets one transaction at a time record an event.
        last_seqs = await store.advance_counters(connection, feed.count(entries))
        times = {event.transfer_id: event.occurred_at for event in by_transfer.values()}
        recorded = await store.list_recorded(connection, times)
        if recorded:
            copies = [entry for entry in entries if entry.event.transfer_id in recorded]
            entries = [entry for entry in entries if entry.event.transfer_id not in recorded]
            last_seqs |= await store.return_numbers(connection, feed.count(copies))
        await _write(connection, entries, last_seqs, with_deliveries=with_deliveries)
    events_count = len(by_transfer) - len(recorded)
    kinds = Counter(entry.text.kind for entry in entries if entry.text is not None)
    for kind, notifications_count in kinds.items():
        metrics.NOTIFICATIONS.labels(kind).inc(notifications_count)
    metrics.REPEATS.inc(len(events) - events_count)
    if entries:
        occurred_at = min(entry.event.occurred_at for entry in entries)
        metrics.DELAY.observe(max(0.0, (datetime.now(UTC) - occurred_at).total_seconds()))
    user_ids = frozenset(entry.user_id for entry in entries)
    return Recorded(events_count, kinds.total(), len(events) - events_count, user_ids)


async def record_pending(pool: Pool, transfers: Sequence[PendingTransfer]) -> frozenset[UUID]:
    """Add PENDING lines to the feeds of senders, unless that or the outcome is recorded; returns the users with new lines.

    Raises:
        CommitUnknown: all or nothing may be written; the same transfers may come again.
        DatabaseUnavailable, LockTimeout: nothing was written; the same transfers may come again.
    """
    by_transfer = {pending.transfer.id: pending for pending in transfers}
    async with database.transaction(pool) as connection:
        counts = Counter(pending.sender_id for pending in by_transfer.values())
        last_seqs = await store.advance_counters(connection, counts)
        # Under the lock of the feed: the outcome is recorded before this line or after it, and then this line is refused.
        times = {id_: pending.expires_at for id_, pending in by_transfer.items()}
        recorded = await store.list_recorded(connection, times)
        keys = [InboxKey(id_, feed.PENDING) for id_ in by_transfer if id_ not in recorded]
        new = await store.insert_inbox(connection, keys) if keys else set()
        unused = Counter(pending.sender_id for id_, pending in by_transfer.items() if id_ not in new)
        if unused:
            last_seqs |= await store.return_numbers(connection, unused)
        lines = feed.number_pending([pending for id_, pending in by_transfer.items() if id_ in new], last_seqs)
        if lines:
            await store.insert_lines(connection, lines)
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


async def find_expired_until(pool: Pool) -> datetime:
    """The time before which records of outcomes may have been removed."""
    async with database.connection(pool) as connection:
        return (await store.find_position(connection, store.EXPIRED) or BEGINNING).at


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


async def _write(
    connection: Connection, entries: Sequence[Entry], last_seqs: Mapping[UUID, int], *, with_deliveries: bool
) -> None:
    numbered = feed.number(entries, last_seqs)
    if numbered.notifications:
        await store.insert_notifications(connection, numbered.notifications)
        if with_deliveries:
            deliveries = [
                (new_id_text(), notification.id, notification.user_id)
                for notification in numbered.notifications
                if notification.currency != TEST_CURRENCY
            ]
            if deliveries:
                await store.insert_deliveries(connection, deliveries)
    if numbered.lines:
        await store.insert_lines(connection, numbered.lines)
        # Notifications are recognized by their own key. An outcome that has none is recognized by a key in the inbox.
        notified = {notification.transfer_id for notification in numbered.notifications}
        keys = {
            InboxKey(entry.event.transfer_id, entry.event.type)
            for entry in entries
            if entry.event.transfer_id not in notified
        }
        if keys:
            new = await store.insert_inbox(connection, keys)
            assert len(new) == len(keys), "the locks of the feeds keep out all others"
