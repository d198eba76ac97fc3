"""The catch-up: the broker loses events, and all are recorded once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from deploy.local.engines import RabbitMQ
from services.chassis import broker
from services.chassis.broker import OutgoingMessage, Publisher
from services.chassis.client import Upstream
from services.chassis.database import LockTimeout, Pool, close_pool
from services.chassis.roles import Runtime
from services.chassis.service_tokens import Identity
from services.contracts.identifiers import new_id
from services.contracts.messages import TransferEvent, encode_envelope, encode_item
from services.contracts.messages import decode_event as decode
from services.contracts.refusal import Refusal
from services.contracts.topology import FINALIZED_QUEUE, TRANSFERS_FINALIZED
from services.notification import commands, metrics
from services.notification.catch_up import EVENTS_MAX, PAGE_MAX, CatchUp
from services.notification.settings import WorkerSettings
from services.notification.store import Finalized
from services.notification.wakeup import FeedWakeup
from services.notification.worker import serve_worker
from services.transaction import store
from tests.harness.databases import TestDatabase
from tests.integration.notification.polling import until
from tests.integration.notification.transfers import RecordingWakeup, Transfers

SECONDS = 5.0
OTHERS = ("gateway", "auth", "transaction-worker", "notification", "notification-deliver")


@pytest.fixture
def settings(
    transfers: Transfers,
    notification_database: TestDatabase,
    rabbitmq: RabbitMQ,
    seeds: dict[str, str],
    public_keys: dict[str, str],
) -> WorkerSettings:
    """A worker that catches up continuously."""
    return WorkerSettings(
        notification_database_url=notification_database.service_url,
        rabbitmq_url=rabbitmq.url,
        transaction_url=transfers.url,
        catch_up_seconds=0.05,
        service_key=seeds["notification-worker"],
        service_public_keys=public_keys,
    )


@pytest.fixture
def catching_up(pool: Pool, upstream: Upstream) -> CatchUp:
    return CatchUp(pool, upstream, FeedWakeup(None), with_deliveries=False)


async def record(pool: Pool, events: Sequence[TransferEvent]) -> commands.Recorded:
    """Record events, as the worker does."""
    return await commands.record_events(pool, events, with_deliveries=False)


async def notified(pool: Pool) -> dict[UUID, list[tuple[UUID, str]]]:
    """By transfer, the users and kinds of its notifications."""
    rows = await pool.fetch("SELECT transfer_id, user_id, kind FROM notifications ORDER BY transfer_id, kind")
    found: dict[UUID, list[tuple[UUID, str]]] = {}
    for row in rows:
        found.setdefault(row["transfer_id"], []).append((row["user_id"], row["kind"]))
    return found


def expected(events: Sequence[TransferEvent]) -> dict[UUID, list[tuple[UUID, str]]]:
    return {
        event.transfer_id: [(event.sender_id, "transfer_failed")]
        if event.type == "transfer.failed"
        else [(event.sender_id, "transfer_completed"), (event.recipient_id, "transfer_received")]  # type: ignore[list-item]
        for event in events
    }


async def test_lost_events_are_recorded_once(transfers: Transfers, catching_up: CatchUp, pool: Pool) -> None:
    """Every message is lost: the catch-up records all events, and none in the next pass."""
    events = await transfers.finalize(7)

    counts = [await catching_up.catch_up(), await catching_up.catch_up()]

    assert [7, 0] == counts
    assert expected(events) == await notified(pool)


async def test_events_are_returned_as_they_were(transfers: Transfers, upstream: Upstream) -> None:
    """A returned event has every field of the lost message, but for the id of the event."""
    events = await transfers.finalize(3)
    ids = [str(event.transfer_id) for event in events]

    answer = await upstream.call("POST", "/internal/events", body={"transfer_ids": ids}, seconds=SECONDS)
    again = {event.transfer_id: event for event in map(decode, answer["events"])}

    assert events == [replace(again[event.transfer_id], event_id=event.event_id) for event in events]


async def test_messages_and_catch_up_record_once(transfers: Transfers, catching_up: CatchUp, pool: Pool) -> None:
    """Some messages come before the catch-up, all of them after it: only the missing ones are recorded, each once."""
    events = await transfers.finalize(8)
    await record(pool, events[::2])

    caught_up = await catching_up.catch_up()
    late = await record(pool, events)

    assert 4 == caught_up
    assert (0, 8) == (late.events_count, late.repeats_count)
    assert expected(events) == await notified(pool)


async def test_long_gap_is_filled_page_by_page(transfers: Transfers, catching_up: CatchUp, pool: Pool) -> None:
    """More was lost than fits into a page, before and after a restart: all of it is recorded."""
    first = await transfers.finalize(PAGE_MAX + EVENTS_MAX + 1)
    assert len(first) == await catching_up.catch_up()
    second = await transfers.finalize(PAGE_MAX)
    restarted = CatchUp(pool, catching_up._transaction, FeedWakeup(None), with_deliveries=False)

    assert PAGE_MAX == await restarted.catch_up()
    assert expected([*first, *second]) == await notified(pool)


async def test_late_commit_is_not_skipped(transfers: Transfers, catching_up: CatchUp, pool: Pool) -> None:
    """A transfer of a long transaction is recorded, though others were finalized after it and recorded before."""
    early = await transfers.accept(1)
    async with transfers.pool.acquire() as slow:
        under_way = slow.transaction()
        await under_way.start()
        await store.finalize_transfers(slow, early)
        late = await transfers.finalize(1)
        await catching_up.catch_up()
        await under_way.commit()
    await catching_up.catch_up()

    assert {early[0].transfer_id, late[0].transfer_id} == set(await notified(pool))


async def test_several_at_once(transfers: Transfers, catching_up: CatchUp, pool: Pool) -> None:
    """Three workers catch up while the messages arrive as well: each event is recorded once."""
    events = await transfers.finalize(900)

    catching = asyncio.gather(*(catching_up.catch_up() for _ in range(3)))
    consumed, caught_up = await asyncio.gather(record(pool, events), catching)

    assert 900 == consumed.events_count + sum(caught_up)
    assert expected(events) == await notified(pool)


async def test_position_does_not_pass_unrecorded_events(
    transfers: Transfers, upstream: Upstream, notification_database: TestDatabase, pool: Pool
) -> None:
    """A lock prevents recording: the next pass starts from the same position."""
    impatient = await notification_database.pool(lock_timeout="100ms")
    catching_up = CatchUp(impatient, upstream, FeedWakeup(None), with_deliveries=False)
    alice = new_id()
    first = await transfers.finalize(1, user_id=alice)
    await record(pool, first)
    second = await transfers.finalize(1, user_id=alice)

    async with pool.acquire() as other, other.transaction():
        await other.execute("UPDATE event_counters SET last_seq = last_seq WHERE user_id = $1", alice)
        with pytest.raises(LockTimeout):
            await catching_up.catch_up()
    caught_up = await catching_up.catch_up()
    await close_pool(impatient)

    assert 1 == caught_up
    assert expected([*first, *second]) == await notified(pool)


async def test_position_never_goes_back(pool: Pool) -> None:
    """The position of a slower worker does not replace that of a faster one."""
    now = datetime.now(UTC)
    far, near = (Finalized(now - timedelta(seconds=age), new_id()) for age in (0, 60))

    await commands.advance_position(pool, far)
    await commands.advance_position(pool, near)

    assert far == await commands.find_position(pool)


async def test_worker_without_the_transaction_service(
    transfers: Transfers, settings: WorkerSettings, rabbitmq: RabbitMQ, pool: Pool
) -> None:
    """Without the transaction service the worker is ready and records messages; with it again, lost events are recorded."""
    lost, [sent] = await transfers.finalize(3), await transfers.finalize(1)
    runtime = Runtime(service="notification", role="worker", instance="notification-worker-test")
    role = asyncio.create_task(serve_worker(settings, runtime))
    await publish(rabbitmq, sent)

    async def ready_and_recorded() -> bool:
        _, failing = await runtime.health.check()
        return not failing and sent.transfer_id in await notified(pool)

    async def all_recorded() -> bool:
        return expected([*lost, sent]) == await notified(pool)

    try:
        await until(ready_and_recorded)
        alone = set(await notified(pool))
        await transfers.serve()
        await until(all_recorded)
    finally:
        runtime.stopping.set()
        await role

    assert {sent.transfer_id} == alone
    assert runtime.fault is None


async def publish(rabbitmq: RabbitMQ, event: TransferEvent) -> None:
    """Publish an event to the emptied queue."""
    connection = await broker.connect(rabbitmq.url, "test")
    async with connection:
        channel = await connection.channel()
        await broker.declare(channel)
        await (await channel.get_queue(FINALIZED_QUEUE.name, ensure=False)).purge()
    publisher = Publisher(rabbitmq.url, "test")
    body = encode_envelope(TRANSFERS_FINALIZED, [encode_item(event)], sent_at=datetime.now(UTC))
    assert [None] == await publisher.publish(
        [OutgoingMessage(TRANSFERS_FINALIZED.exchange, TRANSFERS_FINALIZED.type, body)]
    )
    await publisher.close()


@pytest.mark.parametrize("name", OTHERS)
async def test_only_the_notification_worker_reads_events(
    transfers: Transfers, seeds: dict[str, str], public_keys: dict[str, str], name: str
) -> None:
    """Only the notification worker may read the events of all users."""
    await transfers.serve()
    other = Upstream("other", "transaction", transfers.url, Identity.from_base64(seeds[name], public_keys))
    where = {"finalized_at": "1970-01-01T00:00:00Z", "transfer_id": str(new_id())}

    with pytest.raises(Refusal) as listing:
        await other.call("GET", "/internal/finalized", params=where, seconds=SECONDS)
    with pytest.raises(Refusal) as events:
        await other.call("POST", "/internal/events", body={"transfer_ids": [str(new_id())]}, seconds=SECONDS)
    await other.close()

    assert [403, 403] == [listing.value.status, events.value.status]


async def test_notification_worker_reads_nothing_else(upstream: Upstream) -> None:
    """The identity of the notification worker may use its routes and no other of the transaction service."""
    with pytest.raises(Refusal) as refused:
        await upstream.call("GET", "/internal/overview", seconds=SECONDS)

    assert 403 == refused.value.status


async def test_lost_event_has_all_its_effects(transfers: Transfers, upstream: Upstream, pool: Pool) -> None:
    """A lost event causes the e-mails, the wake-up of its users, and one count each, as its message would have."""
    wakeup = RecordingWakeup()
    catching_up = CatchUp(pool, upstream, wakeup, with_deliveries=True)
    events = await transfers.finalize(4)
    counted = metrics.CAUGHT_UP._value.get()
    await commands.record_events(pool, events[:1], with_deliveries=True)

    assert [3, 0] == [await catching_up.catch_up() for _ in range(2)]

    notifications_count = sum(len(users) for users in expected(events).values())
    concerned = {user for users in expected(events[1:]).values() for user, _ in users}
    assert notifications_count == await pool.fetchval("SELECT count(*) FROM deliveries")
    assert notifications_count == await pool.fetchval("SELECT count(DISTINCT notification_id) FROM deliveries")
    assert concerned == set().union(*wakeup.rung)
    assert 3 == metrics.CAUGHT_UP._value.get() - counted
