"""A rolling update: code that recognizes copies by the inbox alone records beside this code, in any order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import pytest

from services.chassis.database import Connection, LockTimeout, Pool
from services.contracts.identifiers import new_id
from services.contracts.messages import TransferEvent
from services.notification import commands, commands_events, feed, templates
from services.notification.store import NEWEST
from services.notification.store_events import Cursor
from tests.harness import locks
from tests.unit.notification.events import completed, failed

ALICE, BOB = new_id(), new_id()

INBOX = """
INSERT INTO inbox (transfer_id, type) SELECT * FROM unnest($1::uuid[], $2::text[]) ON CONFLICT DO NOTHING RETURNING type
"""
NOTIFICATION = """
INSERT INTO notifications (id, user_id, transfer_id, kind, title, body) VALUES ($1, $2, $3, $4, $5, $6)
"""
COUNTER = """
INSERT INTO event_counters (user_id, last_seq) VALUES ($1, $2)
ON CONFLICT (user_id) DO UPDATE SET last_seq = event_counters.last_seq + excluded.last_seq RETURNING last_seq
"""
LINE = "INSERT INTO events (user_id, seq, type, payload) VALUES ($1, $2, $3, $4)"


class Earlier:
    """The worker of the release before: its statements in its order, one event in one transaction."""

    def __init__(self, connection: Connection, event: TransferEvent) -> None:
        self._connection = connection
        self._event = event

    async def insert_key(self) -> bool:
        """Whether the event is new to it."""
        types = [self._event.type, feed.PENDING]
        keys = await self._connection.fetch(INBOX, [self._event.transfer_id] * 2, types)
        return self._event.type in [key["type"] for key in keys]

    async def insert_notifications(self) -> None:
        for text in templates.notifications(self._event):
            about = self._event.transfer_id
            await self._connection.execute(
                NOTIFICATION, new_id(), text.user_id, about, text.kind, text.title, text.body
            )

    async def insert_lines(self) -> None:
        notified = {text.user_id for text in templates.notifications(self._event)}
        shown = [(user_id, self._event.type) for user_id in feed.viewers(self._event)]
        shown += [(user_id, feed.NOTIFICATION) for user_id in notified]
        payload = json.dumps({"id": str(self._event.transfer_id)})
        for user_id, type_ in sorted([(self._event.sender_id, feed.PENDING), *shown]):
            last = await self._connection.fetchval(COUNTER, user_id, 1)
            await self._connection.execute(LINE, user_id, last, type_, payload)

    async def record(self) -> bool:
        """Record the event unless it is a copy."""
        if not await self.insert_key():
            return False
        await self.insert_notifications()
        await self.insert_lines()
        return True


@asynccontextmanager
async def earlier(pool: Pool, event: TransferEvent) -> AsyncIterator[Earlier]:
    async with pool.acquire() as connection, connection.transaction():
        yield Earlier(connection, event)


async def record(pool: Pool, event: TransferEvent) -> commands.Recorded:
    return await commands.record_events(pool, [event], with_deliveries=False)


async def shown(pool: Pool, user_id: UUID) -> list[tuple[int, str]]:
    updates = await commands_events.read_feeds(pool, [Cursor(user_id, 0)], limit=100)
    return [(line.seq, line.type) for update in updates for line in update.events]


async def notified(pool: Pool, user_id: UUID) -> list[UUID]:
    return [one.transfer_id for one in await commands.list_notifications(pool, user_id, below=NEWEST, limit=100)]


EARLIER_LINES = [(1, "notification"), (2, "transfer.completed"), (3, "transfer.pending")]
"""The order does not matter here."""


async def test_copy_of_an_earlier_record(pool: Pool) -> None:
    """What the earlier worker recorded is a copy for this worker and for the catch-up; feed and list continue after it."""
    old, new = completed(sender_id=ALICE, recipient_id=BOB), completed(sender_id=ALICE, recipient_id=BOB)
    async with earlier(pool, old) as worker:
        assert await worker.record()

    assert (0, 0, 1) == (await record(pool, old))[:3]
    assert [new.transfer_id] == await commands.list_unrecorded(pool, [old.transfer_id, new.transfer_id])
    assert (1, 2, 0) == (await record(pool, new))[:3]

    assert [*EARLIER_LINES, (4, "transfer.completed"), (5, "notification")] == await shown(pool, ALICE)
    assert [new.transfer_id, old.transfer_id] == await notified(pool, ALICE)


@pytest.mark.parametrize(
    "event",
    [
        completed(sender_id=ALICE, recipient_id=BOB),
        failed("wallet_frozen", kind="deposit", sender_id=ALICE, recipient_id=BOB),
    ],
    ids=["notified", "unnotified"],
)
async def test_copy_of_a_later_record(pool: Pool, event: TransferEvent) -> None:
    """The earlier worker and its poller find nothing new in an outcome that this code has recorded."""
    await record(pool, event)
    before = await shown(pool, ALICE)

    async with earlier(pool, event) as worker:
        assert not await worker.record()

    assert before == await shown(pool, ALICE)


async def test_recorded_while_the_earlier_worker_is_at_work(pool: Pool) -> None:
    """The earlier worker has inserted its key when this one records and commits: it fails as a whole, and then finds a copy."""
    event = completed(sender_id=ALICE, recipient_id=BOB)

    async def work() -> None:
        async with earlier(pool, event) as worker:
            assert await worker.insert_key()
            await record(pool, event)
            await worker.insert_notifications()

    with pytest.raises(asyncpg.UniqueViolationError):
        await work()
    async with earlier(pool, event) as worker:
        assert not await worker.record()
    assert [(1, "transfer.completed"), (2, "notification")] == await shown(pool, ALICE)


async def test_recorded_after_the_earlier_worker_took_the_feed(pool: Pool) -> None:
    """The earlier worker has locked the feed: this one waits for its commit, and finds a copy."""
    event = completed(sender_id=ALICE, recipient_id=BOB)
    async with earlier(pool, event) as worker:
        await worker.record()
        recording = asyncio.create_task(record(pool, event))
        await locks.until_waiting(pool, 1)

    assert (0, 0, 1) == (await recording)[:3]
    assert EARLIER_LINES == await shown(pool, ALICE)


async def test_two_workers_that_wait_for_each_other(pool: Pool) -> None:
    """Each has locked what the other needs: one of them fails as a whole, and a repetition records the event once."""
    event = completed(sender_id=ALICE, recipient_id=BOB)

    async def work() -> None:
        async with earlier(pool, event) as worker:
            await worker.insert_key()
            await worker.insert_notifications()
            recording.append(asyncio.create_task(record(pool, event)))
            await locks.until_waiting(pool, 1)
            await worker.insert_lines()

    recording: list[asyncio.Task[commands.Recorded]] = []
    [failure] = await asyncio.gather(work(), return_exceptions=True)
    [result] = await asyncio.gather(*recording, return_exceptions=True)
    failures = [one for one in (failure, result) if isinstance(one, BaseException)]
    assert all(isinstance(one, (LockTimeout, asyncpg.DeadlockDetectedError)) for one in failures), failures
    assert 1 == len(failures)

    await record(pool, event)
    assert [event.transfer_id] == await notified(pool, ALICE)
    assert [event.transfer_id] == await notified(pool, BOB)
