"""What is removed when it has expired, what never comes back, and what stays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import asyncpg
import pytest

from services.chassis import dead_letters
from services.chassis.database import Pool, close_pool
from services.contracts.identifiers import new_id
from services.contracts.messages import TransferEvent, encode_envelope, encode_item
from services.contracts.topology import FINALIZED_QUEUE, TRANSFERS_FINALIZED
from services.notification import commands, commands_events, commands_retention, feed, replay
from services.notification.commands_retention import Removed
from services.notification.feed import PendingTransfer
from services.notification.retention import Retention
from services.notification.store import NEWEST
from services.notification.store_events import Cursor
from services.notification.store_retention import Cutoffs
from tests.harness.databases import TestDatabase
from tests.harness.dead_letters import archived
from tests.unit.notification.events import completed, failed

ALICE, BOB, OPERATOR = new_id(), new_id(), new_id()
DAY = timedelta(days=1)
MONTHS = 13
LIMIT = 5
KEPT = 100 * DAY
KEPT_EVENTS = 40 * DAY

TABLES = ("notifications", "inbox", "events", "deliveries")
TIMES = {"notifications": "created_at", "inbox": "received_at", "events": "created_at"}


@pytest.fixture
async def pool(notification_database: TestDatabase) -> AsyncIterator[Pool]:
    """As the service connects. Feeds have gaps here, where lines have expired."""
    opened = await notification_database.pool()
    yield opened
    await close_pool(opened)


@pytest.fixture
async def owner(notification_database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    """A connection that changes the times of rows; triggers do not run."""
    connection = await asyncpg.connect(notification_database.superuser_url)
    await connection.execute("SET session_replication_role = replica")
    yield connection
    await connection.close()


class Month(NamedTuple):
    """The events of a month: with notifications, without, and one of a slow transfer."""

    notified: TransferEvent
    unnotified: TransferEvent
    slow: TransferEvent

    @classmethod
    def at(cls, now: datetime) -> Month:
        return cls(
            completed(sender_id=ALICE, recipient_id=BOB, occurred_at=now),
            failed("wallet_frozen", kind="deposit", sender_id=OPERATOR, occurred_at=now),
            completed(sender_id=ALICE, recipient_id=BOB, occurred_at=now),
        )


async def record(pool: Pool, *events: TransferEvent) -> commands.Recorded:
    return await commands.record_events(pool, events, with_deliveries=True)


async def live(pool: Pool, month: Month, owner: asyncpg.Connection, now: datetime) -> None:
    """Record a month, at a simulated time."""
    await commands.record_pending(pool, [pending(month.slow)])
    await record(pool, *month)
    await owner.execute("UPDATE deliveries SET state = 'sent', sent_at = now() WHERE state = 'waiting'")
    await shift(owner, now)


async def shift(owner: asyncpg.Connection, now: datetime) -> None:
    """Set the time of what was just recorded to a simulated time."""
    recent = datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(hours=1)
    for table, column in TIMES.items():
        await owner.execute(f"UPDATE {table} SET {column} = $1 WHERE {column} BETWEEN $2 AND $3", now, *recent)


def pending(event: TransferEvent) -> PendingTransfer:
    return PendingTransfer(feed.transfer(event), event.sender_id, event.occurred_at)


async def remove(pool: Pool, now: datetime) -> int:
    """Run all passes that are due at a simulated time, each with a limit; returns how many rows they removed."""
    cutoffs = Cutoffs(now - KEPT, now - KEPT_EVENTS)
    total = 0
    while any(removed := await commands_retention.remove_expired(pool, cutoffs, limit=LIMIT)):
        assert max(removed) <= LIMIT
        total += sum(removed)
    return total


async def sizes(pool: Pool) -> dict[str, int]:
    return {table: await pool.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES}


async def test_a_year(pool: Pool, owner: asyncpg.Connection) -> None:
    """Thirteen months: the tables stop growing, and nothing that was removed comes back by a copy, a poll or a catch-up."""
    start = datetime.now(UTC) + 10 * DAY
    await owner.execute("ALTER TABLE notifications DISABLE TRIGGER ALL; ALTER TABLE events DISABLE TRIGGER ALL")
    await owner.execute("ALTER TABLE inbox DISABLE TRIGGER ALL")
    months, after = [], []
    for number in range(MONTHS):
        now = start + number * 30 * DAY
        months.append(Month.at(now))
        await live(pool, months[-1], owner, now)
        await remove(pool, now)
        before = await sizes(pool)
        after.append(before)

        every = [event for month in months for event in month]
        copies = await record(pool, *every)
        assert (0, 0, len(every)) == copies[:3]
        assert frozenset() == await commands.record_pending(pool, [pending(event) for event in every])
        assert before == await sizes(pool)

    assert after[-1] == after[-2] == after[-3]
    kept = {event.transfer_id for month in months[-4:] for event in (month.notified, month.slow)}
    listed = await commands.list_notifications(pool, ALICE, below=NEWEST, limit=100)
    assert kept == {one.transfer_id for one in listed}


async def test_resuming_from_what_has_expired(pool: Pool, owner: asyncpg.Connection) -> None:
    """A position in the expired part gets no line that follows on it, which resets the stream; a newer one misses nothing."""
    start = datetime.now(UTC) + 10 * DAY
    await owner.execute("ALTER TABLE notifications DISABLE TRIGGER ALL; ALTER TABLE events DISABLE TRIGGER ALL")
    await owner.execute("ALTER TABLE inbox DISABLE TRIGGER ALL")
    for now in (start, start + 200 * DAY):
        await live(pool, Month.at(now), owner, now)
    await remove(pool, start + 201 * DAY)

    updates = await commands_events.read_feeds(pool, [Cursor(ALICE, 1), Cursor(ALICE, 5)], limit=100)

    assert [(10, 6), (10, 6)] == [(update.last_seq, update.events[0].seq) for update in updates]
    assert [6, 7, 8, 9, 10] == [line.seq for line in updates[1].events]


async def test_replay_of_an_expired_dead_letter(pool: Pool, owner: asyncpg.Connection) -> None:
    """Its preview says that nothing happens, and nothing does; a newer one in the same message is recorded."""
    now = datetime.now(UTC)
    old, never_recorded = (completed(occurred_at=now - 500 * DAY) for _ in range(2))
    new = completed(occurred_at=now - 300 * DAY)
    await record(pool, old)
    await shift(owner, now - 500 * DAY)
    await owner.execute("UPDATE notifications SET id = overlay(id::text placing '00000000' from 1 for 8)::uuid")
    await owner.execute("DELETE FROM deliveries")
    assert not await Retention(pool, days=400, event_days=30).remove()
    assert 0 == (await sizes(pool))["notifications"]

    items = [encode_item(event) for event in (old, never_recorded, new)]
    body = encode_envelope(TRANSFERS_FINALIZED, items, sent_at=now)
    await dead_letters.archive(pool, [dead_letters.read(FINALIZED_QUEUE, body, {}, None)])
    [row] = await archived(pool)
    preview = await replay.previewer(pool)(row)
    recorded = await record(pool, old, never_recorded, new)

    effects = {effect.subject_id: effect.effect for effect in preview.effects}
    assert {old.transfer_id: "nothing", never_recorded.transfer_id: "nothing", new.transfer_id: "notify"} == effects
    assert (1, 2, 2) == recorded[:3]


async def test_waiting_email_keeps_its_notification(pool: Pool, owner: asyncpg.Connection) -> None:
    """A notification whose e-mail waits is removed after it was sent or has failed."""
    now = datetime.now(UTC)
    await record(pool, failed(sender_id=ALICE, occurred_at=now - 500 * DAY))
    await owner.execute("UPDATE notifications SET created_at = $1", now - 500 * DAY)
    cutoffs = Cutoffs(now + DAY, now)
    assert Removed(0, 0, 0, 0) == await commands_retention.remove_expired(pool, cutoffs, limit=LIMIT)
    await owner.execute("UPDATE deliveries SET state = 'failed'")
    assert Removed(1, 0, 0, 0) == await commands_retention.remove_expired(pool, cutoffs, limit=LIMIT)
    assert set((await sizes(pool)).values()) == {0}


async def test_nothing_expires_by_default(pool: Pool) -> None:
    """What was recorded today stays, whatever its transfer's age."""
    await live_now(pool)
    before = await sizes(pool)
    assert not await Retention(pool, days=7, event_days=7).remove()
    assert before == await sizes(pool)


async def live_now(pool: Pool) -> None:
    month = Month.at(datetime.now(UTC) - 500 * DAY)
    await commands.record_pending(pool, [pending(month.slow)])
    await record(pool, *month)


@pytest.mark.parametrize("table", TABLES)
async def test_recent_rows_cannot_be_removed(pool: Pool, table: str) -> None:
    """The database refuses it, whatever the settings say: rows of this week, and e-mails that wait."""
    await live_now(pool)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pool.execute(f"DELETE FROM {table}")
