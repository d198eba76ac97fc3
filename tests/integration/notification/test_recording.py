"""Recording finalized transfers in the real database: once each, whole, in order."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from services.chassis import database
from services.chassis.database import Connection, DatabaseUnavailable, Pool, close_pool, open_pool
from services.contracts.identifiers import new_id
from services.contracts.messages import TransferEvent
from services.notification import commands, commands_events, feed, metrics, store, templates
from services.notification.commands import Recorded
from services.notification.feed import Event, PendingTransfer
from services.notification.store import NEWEST
from services.notification.store_events import Cursor
from tests.harness import locks
from tests.harness.databases import TestDatabase
from tests.unit.notification.events import completed, deposit, failed

ALICE, BOB, OPERATOR = new_id(), new_id(), new_id()


async def record(pool: Pool, *events: TransferEvent, with_deliveries: bool = False) -> Recorded:
    return await commands.record_events(pool, events, with_deliveries=with_deliveries)


async def kinds(pool: Pool) -> Counter[tuple[UUID, str]]:
    return Counter((row["user_id"], row["kind"]) for row in await pool.fetch("SELECT user_id, kind FROM notifications"))


async def shown(pool: Pool, user_id: UUID) -> list[str]:
    return [line.type for line in await feed_of(pool, user_id)]


async def feed_of(pool: Pool, user_id: UUID) -> list[Event]:
    """All lines of a feed, as they are sent."""
    updates = await commands_events.read_feeds(pool, [Cursor(user_id, 0)], limit=10_000)
    return [line for update in updates for line in update.events]


def pending(event: TransferEvent) -> PendingTransfer:
    """The transfer of an event before it was final."""
    return PendingTransfer(feed.transfer(event), event.sender_id, event.occurred_at)


async def everything(pool: Pool) -> tuple[Any, Any]:
    """All notifications and feeds, without what differs between runs: ids and times."""
    notifications = await pool.fetch(
        "SELECT transfer_id, user_id, kind, title, body FROM notifications ORDER BY 1, 2, 3"
    )
    users = [row["user_id"] for row in await pool.fetch("SELECT user_id FROM event_counters")]
    lines = [(user_id, line) for user_id in users for line in await feed_of(pool, user_id)]
    return [tuple(row) for row in notifications], Counter(
        (user_id, line.type, _stable(line)) for user_id, line in lines
    )


def _stable(line: Event) -> str:
    payload = json.loads(line.payload)
    if line.type == feed.NOTIFICATION:
        del payload["id"], payload["created_at"]
    return json.dumps(payload, sort_keys=True)


async def write(connection: Connection, event: TransferEvent) -> None:
    """Record an event in a transaction that is still open."""
    entries = feed.entries(event)
    numbers = await store.advance_counters(connection, feed.count(entries))
    await commands._write(connection, entries, numbers, with_deliveries=False)


async def test_both_users(pool: Pool) -> None:
    """A completed transfer makes a notification for both users, the sender first."""
    recorded = await record(pool, completed(sender_id=ALICE, recipient_id=BOB))
    assert recorded == Recorded(1, 2, 0, frozenset({ALICE, BOB}))
    assert await kinds(pool) == {(ALICE, "transfer_completed"): 1, (BOB, "transfer_received"): 1}
    assert await shown(pool, ALICE) == ["transfer.completed", "notification"]
    assert await shown(pool, BOB) == ["transfer.completed", "notification"]


async def test_failed(pool: Pool) -> None:
    """The recipient of a failed transfer gets nothing."""
    await record(pool, failed(sender_id=ALICE, recipient_id=BOB))
    assert await kinds(pool) == {(ALICE, "transfer_failed"): 1}
    assert await shown(pool, ALICE) == ["transfer.failed", "notification"]
    assert await shown(pool, BOB) == []


async def test_deposit(pool: Pool) -> None:
    """The owner of the wallet gets a notification of a deposit; the operator gets only its live event."""
    await record(pool, deposit(OPERATOR, BOB))
    assert await kinds(pool) == {(BOB, "transfer_received"): 1}
    assert await shown(pool, OPERATOR) == ["transfer.completed"]


async def test_failed_deposit(pool: Pool) -> None:
    """A window without notifications is recorded too."""
    await record(pool, failed("wallet_frozen", kind="deposit", sender_id=OPERATOR, recipient_id=BOB))
    assert await kinds(pool) == {}
    assert await shown(pool, OPERATOR) == ["transfer.failed"]


async def test_live_notification_equals_the_listed_one(pool: Pool) -> None:
    """The live event equals the item of the list, to the microsecond."""
    await record(pool, completed(sender_id=ALICE, recipient_id=BOB))
    _, line = await feed_of(pool, BOB)
    [listed] = await commands.list_notifications(pool, BOB, below=NEWEST, limit=10)
    assert json.loads(line.payload) == feed.notification(listed)


async def test_live_notification_stays_as_it_was(pool: Pool) -> None:
    """A client that resumes gets the notification as it was sent first: unread."""
    await record(pool, completed(sender_id=ALICE))
    before = await feed_of(pool, ALICE)
    [listed] = await commands.list_notifications(pool, ALICE, below=NEWEST, limit=10)
    await commands.mark_read(pool, listed.id, ALICE)
    assert before == await feed_of(pool, ALICE)


async def test_pending_before_the_outcome(pool: Pool) -> None:
    """Only the sender of a slow transfer gets a PENDING event: once, before the outcome, never after it."""
    slow, fast = (completed(sender_id=ALICE, recipient_id=BOB) for _ in range(2))
    assert {ALICE} == await commands.record_pending(pool, [pending(slow)])
    assert frozenset() == await commands.record_pending(pool, [pending(slow)])
    await record(pool, slow, fast)
    assert frozenset() == await commands.record_pending(pool, [pending(slow), pending(fast)])

    lines = [
        (json.loads(line.payload)["id"], line.type)
        for line in await feed_of(pool, ALICE)
        if line.type != "notification"
    ]
    expected = [(slow, "transfer.pending"), (slow, "transfer.completed"), (fast, "transfer.completed")]
    assert [(str(event.transfer_id), type_) for event, type_ in expected] == lines
    assert "transfer.pending" not in await shown(pool, BOB)


async def test_pending_after_an_outcome_without_notifications(pool: Pool) -> None:
    """An outcome that notifies no user still keeps out a late PENDING event."""
    event = failed("wallet_frozen", kind="deposit", sender_id=OPERATOR, recipient_id=BOB)
    await record(pool, event)
    assert frozenset() == await commands.record_pending(pool, [pending(event)])
    assert await shown(pool, OPERATOR) == ["transfer.failed"]


async def test_pending_and_outcome_at_the_same_moment(pool: Pool) -> None:
    """In any order of the poller and the worker: at most one PENDING line for each transfer, before its outcome."""
    events = [completed(sender_id=ALICE, recipient_id=None) for _ in range(100)]
    windows = [events[start : start + 10] for start in range(0, 100, 10)]
    telling = [record(pool, *window) for window in windows]
    watching = [commands.record_pending(pool, [pending(event) for event in events[::-1]]) for _ in range(4)]
    work = [*telling, *watching]
    random.shuffle(work)
    await asyncio.gather(*work)

    notified: dict[str, list[str]] = {}
    for line in await feed_of(pool, ALICE):
        if line.type != "notification":
            notified.setdefault(json.loads(line.payload)["id"], []).append(line.type)
    assert {str(event.transfer_id) for event in events} == set(notified)
    assert all(
        types in (["transfer.completed"], ["transfer.pending", "transfer.completed"]) for types in notified.values()
    )


@pytest.mark.parametrize("kind", ["transfer", "deposit"])
async def test_pending_waits_for_a_worker_that_records_the_outcome(pool: Pool, kind: str) -> None:
    """While another transaction has recorded the outcome and not committed, the poller waits; then it adds nothing."""
    event = failed(kind=kind, sender_id=ALICE)
    async with database.transaction(pool) as worker:
        await write(worker, event)
        poller = asyncio.create_task(commands.record_pending(pool, [pending(event)]))
        await locks.until_waiting(pool, 1)
    assert frozenset() == await poller
    assert "transfer.pending" not in await shown(pool, ALICE)


async def test_repeat(pool: Pool) -> None:
    """A copy is recognized, in the same window and in a later one, also under another event id."""
    event = completed()
    assert (await record(pool, event, event))[:3] == (1, 2, 1)
    assert (await record(pool, event))[:3] == (0, 0, 1)
    again = completed(transfer_id=event.transfer_id, sender_id=event.sender_id, recipient_id=event.recipient_id)
    assert (await record(pool, again))[:3] == (0, 0, 1)


async def test_copy_waits_for_the_transaction_that_records(pool: Pool) -> None:
    """While another transaction has recorded the event and not committed, a worker waits; then it finds a copy."""
    event = completed(sender_id=ALICE)
    async with database.transaction(pool) as worker:
        await write(worker, event)
        copying = asyncio.create_task(record(pool, event))
        await locks.until_waiting(pool, 1)
    assert (0, 0, 1) == (await copying)[:3]


async def test_numbers_of_copies_are_used_again(pool: Pool) -> None:
    """Copies between new events leave no gap: also those of outcomes without notifications, and in one window."""
    old, unnotified = completed(sender_id=ALICE), failed("wallet_frozen", kind="deposit", sender_id=ALICE)
    await record(pool, old, unnotified)
    await record(pool, completed(sender_id=ALICE), old, unnotified, completed(sender_id=ALICE), old)
    assert [line.seq for line in await feed_of(pool, ALICE)] == [1, 2, 3, 4, 5, 6, 7]


async def test_missing_lines_are_not_passed_over(pool: Pool, notification_database: TestDatabase) -> None:
    """A reader gets the lines up to a gap and never those behind it."""
    await record(pool, *(completed(sender_id=ALICE) for _ in range(3)))
    owner = await asyncpg.connect(notification_database.superuser_url)
    await owner.execute("SET session_replication_role = replica")
    await owner.execute("DELETE FROM notifications WHERE user_id = $1 AND seq = 4", ALICE)
    assert [line.seq for line in await feed_of(pool, ALICE)] == [1, 2]
    await owner.execute("TRUNCATE notifications, event_counters, deliveries")
    await owner.close()


async def test_test_money_causes_no_email(pool: Pool) -> None:
    """The canary's transfers are notified of in the feed alone; no other currency is left out."""
    before = await pool.fetchval("SELECT count(*) FROM deliveries")
    await record(pool, completed(currency="XTS"), with_deliveries=True)
    assert before == await pool.fetchval("SELECT count(*) FROM deliveries")
    await record(pool, completed(currency="XTS"), completed(currency="EUR"), with_deliveries=True)
    assert before + 2 == await pool.fetchval("SELECT count(*) FROM deliveries")


async def test_notifications_and_copies_are_counted(pool: Pool) -> None:
    """Each notification once under its kind, each copy once; a new event is not a copy."""
    kinds_ = ("transfer_completed", "transfer_received", "transfer_failed")
    before = [*(metrics.NOTIFICATIONS.labels(kind)._value.get() for kind in kinds_), metrics.REPEATS._value.get()]
    events = [*(completed(recipient_id=BOB) for _ in range(3)), *(failed() for _ in range(2)), deposit(OPERATOR, BOB)]
    await record(pool, *events, events[0], events[0])
    await record(pool, *events[:3])

    after = [*(metrics.NOTIFICATIONS.labels(kind)._value.get() for kind in kinds_), metrics.REPEATS._value.get()]
    assert [3, 4, 2, 5] == [now - then for now, then in zip(after, before, strict=True)]


async def test_repeats_in_any_order(pool: Pool, notification_database: TestDatabase) -> None:
    """Ten copies of every event in random order and random windows have the effect of one of each."""
    users = [new_id() for _ in range(7)]
    events = [_random_event(users) for _ in range(60)]
    copies = events * 10
    random.Random(7).shuffle(copies)
    await record(pool, *events)
    once = await everything(pool)
    await _forget(notification_database)
    while copies:
        size = random.randint(1, 40)
        await record(pool, *copies[:size])
        del copies[:size]
    assert await everything(pool) == once


async def test_two_workers(pool: Pool) -> None:
    """Two workers with copies of the same windows in opposite orders: no deadlock, nothing twice, no gap (see `pool`)."""
    users = [new_id() for _ in range(5)]
    windows = [[_random_event(users) for _ in range(32)] for _ in range(30)]

    async def work(seed: int) -> int:
        mine = [random.Random(seed).sample(window, len(window)) for window in windows]
        random.Random(seed).shuffle(mine)
        return sum([(await record(pool, *window)).events_count for window in mine])

    first, second = await asyncio.gather(work(1), work(2))
    expected = Counter(
        (notification.user_id, notification.kind)
        for window in windows
        for event in window
        for notification in templates.notifications(event)
    )
    assert first + second == 30 * 32
    assert await kinds(pool) == expected


async def test_copies_at_the_same_moment(pool: Pool) -> None:
    """Eight workers get the same message at once: one records it, the others wait and recognize it."""
    events = [completed(sender_id=ALICE, recipient_id=BOB) for _ in range(20)]
    recorded = await asyncio.gather(*(record(pool, *random.sample(events, 20)) for _ in range(8)))
    assert sum(one.events_count for one in recorded) == 20
    assert sum(one.repeats_count for one in recorded) == 7 * 20
    assert len(await shown(pool, ALICE)) == 40


async def test_opposite_orders(pool: Pool) -> None:
    """Large windows of the same events, and of other events of the same users, in opposite orders never deadlock."""
    users = [new_id() for _ in range(200)]
    await asyncio.gather(*(pool.fetch("SELECT pg_sleep(0.05)") for _ in range(4)))  # four open connections
    for _ in range(8):
        same = [completed(sender_id=user, recipient_id=None) for user in users]
        others = [completed(sender_id=user, recipient_id=None) for user in users]
        windows = (same, same[::-1], others[::-1], others)
        recorded = await asyncio.gather(*(record(pool, *window) for window in windows))
        assert sum(one.events_count for one in recorded) == 2 * len(users)


async def test_feed_in_order(pool: Pool) -> None:
    """A reader that sees a number has seen every number before it, while two workers write."""
    stop = asyncio.Event()

    async def write() -> None:
        for _ in range(60):
            await record(pool, completed(sender_id=ALICE, recipient_id=BOB))
        stop.set()

    async def read() -> None:
        last = 0
        while not stop.is_set():
            for update in await commands_events.read_feeds(pool, [Cursor(ALICE, last)], limit=50):
                assert [line.seq for line in update.events] == list(range(last + 1, last + 1 + len(update.events)))
                last += len(update.events)

    await asyncio.gather(read(), write(), write())
    assert len(await shown(pool, ALICE)) == 240


async def test_failed_window_records_nothing(pool: Pool) -> None:
    """A window that cannot be written leaves no notifications, numbers or inbox rows."""
    good, bad = completed(sender_id=ALICE), completed(sender_id=ALICE, description="NUL \x00")
    with pytest.raises(asyncpg.PostgresError):
        await record(pool, good, bad)
    assert await kinds(pool) == {}
    assert (await record(pool, good))[:3] == (1, 2, 0)
    assert await shown(pool, ALICE) == ["transfer.completed", "notification"]


async def test_deliveries(pool: Pool) -> None:
    """With a mail server every notification has one e-mail to send, with copies still one."""
    event = completed(sender_id=ALICE, recipient_id=BOB)
    await record(pool, event, with_deliveries=True)
    await record(pool, event, with_deliveries=True)
    rows = await pool.fetch(
        "SELECT d.user_id, d.state FROM deliveries d JOIN notifications n ON n.id = d.notification_id"
    )
    assert Counter(tuple(row) for row in rows) == {(ALICE, "waiting"): 1, (BOB, "waiting"): 1}


async def test_no_deliveries(pool: Pool) -> None:
    """Without a mail server no e-mail is ever due, not even later."""
    await record(pool, completed())
    assert await pool.fetchval("SELECT count(*) FROM deliveries") == 0


async def test_database_unavailable() -> None:
    """An unavailable database is not the fault of the events."""
    away = await open_pool("postgresql://payflow:password@127.0.0.1:9/notification", name="test", size_max=1)
    with pytest.raises(DatabaseUnavailable):
        await record(away, completed())
    await close_pool(away)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE notifications SET body = ''",
        "UPDATE notifications SET seq = 1",
        "UPDATE events SET seq = seq + 1",
        "DELETE FROM event_counters",
        "DELETE FROM positions",
        "TRUNCATE events",
        "CREATE TABLE mine (id int)",
    ],
)
async def test_grants(pool: Pool, statement: str) -> None:
    """The service can insert what it records; it cannot change it. What it can delete is old: see test_retention.py."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pool.execute(statement)


def _random_event(users: list[UUID]) -> TransferEvent:
    sender, recipient = random.sample(users, 2)
    make = random.choice([completed, failed])
    return make(sender_id=sender, recipient_id=random.choice([recipient, sender, None]), description="Grüße")


async def _forget(made: TestDatabase) -> None:
    connection = await asyncpg.connect(made.owner_url)
    await connection.execute("TRUNCATE inbox, notifications, events, event_counters, deliveries")
    await connection.close()
