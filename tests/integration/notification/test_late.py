"""Notifications of transfers that take longer than expected: once, and never after the outcome."""

from __future__ import annotations

import asyncio
import json
import random
from datetime import timedelta

from services.chassis import database
from services.chassis.database import Pool
from services.contracts.identifiers import new_id
from services.contracts.messages import TransferEvent
from services.notification import commands, commands_late, feed
from services.notification.feed import LateTransfer
from services.notification.store import NEWEST
from tests.harness import locks
from tests.integration.notification.test_recording import feed_of, record, write
from tests.unit.notification.events import completed, failed

ALICE, BOB = new_id(), new_id()
MINUTE = timedelta(minutes=1)


def late(event: TransferEvent) -> LateTransfer:
    """The transfer of an event, two seconds before its outcome."""
    return LateTransfer(
        event.transfer_id,
        event.sender_id,
        event.amount,
        event.currency,
        event.description,
        expected_by=event.occurred_at - timedelta(seconds=2),
        expires_at=event.occurred_at + MINUTE,
    )


async def listed(pool: Pool) -> list[str]:
    """The kinds of Alice's notifications, newest first."""
    found = await commands.list_notifications(pool, ALICE, below=NEWEST, limit=100)
    return [notification.kind for notification in found]


async def shown(pool: Pool) -> list[str]:
    """The kinds of the notifications in Alice's feed, in order."""
    lines = await feed_of(pool, ALICE)
    return [json.loads(line.payload)["kind"] for line in lines if line.type == feed.NOTIFICATION]


async def test_sender_is_notified_once(pool: Pool) -> None:
    """Again is the same, in a feed without gaps; the outcome follows, and is the newest."""
    event = completed(sender_id=ALICE, recipient_id=BOB)
    assert {ALICE} == await commands_late.record_late(pool, [late(event)])
    assert frozenset() == await commands_late.record_late(pool, [late(event), late(event)])
    assert ["transfer_late"] == await listed(pool) == await shown(pool)
    await record(pool, event)
    assert ["transfer_completed", "transfer_late"] == await listed(pool)
    assert ["transfer_late", "transfer_completed"] == await shown(pool)
    assert [1, 2, 3] == [line.seq for line in await feed_of(pool, ALICE)]


async def test_late_notification_is_no_outcome(pool: Pool) -> None:
    """The catch-up still looks for the outcome, and a worker does not take its event for a copy."""
    event = failed(sender_id=ALICE)
    await commands_late.record_late(pool, [late(event)])
    assert [event.transfer_id] == await commands.list_unrecorded(pool, [event.transfer_id])
    assert (1, 1, 0) == (await record(pool, event))[:3]


async def test_nothing_after_the_outcome(pool: Pool) -> None:
    """With or without notifications of its own, an outcome ends it; the numbers are used again."""
    notified, silent = failed(sender_id=ALICE), failed("wallet_frozen", kind="deposit", sender_id=ALICE)
    await record(pool, notified, silent)
    assert frozenset() == await commands_late.record_late(pool, [late(notified), late(silent)])
    assert ["transfer_failed"] == await listed(pool)


async def test_waits_for_the_transaction_that_records_the_outcome(pool: Pool) -> None:
    """While the outcome is recorded and not committed, it waits; then there is nothing to notify of."""
    event = completed(sender_id=ALICE)
    async with database.transaction(pool) as worker:
        await write(worker, event)
        notifying = asyncio.create_task(commands_late.record_late(pool, [late(event)]))
        await locks.until_waiting(pool, 1)
    assert frozenset() == await notifying
    assert ["transfer_completed"] == await listed(pool)


async def test_outcomes_and_late_notifications_at_the_same_moment(pool: Pool) -> None:
    """Sixty transfers, three pollers and two workers at once: at most one each, and never after the outcome."""
    events = [completed(sender_id=ALICE) for _ in range(60)]
    work = [record(pool, *random.sample(events, 60)) for _ in range(2)]
    polls = [commands_late.record_late(pool, [late(event)]) for event in events for _ in range(3)]
    everything = [*work, *polls]
    random.shuffle(everything)

    await asyncio.gather(*everything)

    by_transfer: dict[str, list[str]] = {}
    for line in await feed_of(pool, ALICE):
        if line.type == feed.NOTIFICATION:
            notification = json.loads(line.payload)
            by_transfer.setdefault(notification["transfer_id"], []).append(notification["kind"])
    outcomes = {tuple(kinds) for kinds in by_transfer.values()}
    assert 60 == len(by_transfer)
    assert outcomes <= {("transfer_completed",), ("transfer_late", "transfer_completed")}


async def test_it_can_be_read(pool: Pool) -> None:
    """It is marked as read like any notification, and only by its owner; no e-mail is queued."""
    await commands_late.record_late(pool, [late(completed(sender_id=ALICE))])
    [notification] = await commands.list_notifications(pool, ALICE, below=NEWEST, limit=10)
    read = await commands.mark_read(pool, notification.id, ALICE)

    assert read.read_at is not None
    assert "Your money is safe" in read.body
    assert 0 == await pool.fetchval("SELECT count(*) FROM deliveries")
