"""The catch-up: the broker loses events, and all are recorded once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from aiohttp import web

from deploy.local.engines import RabbitMQ
from deploy.local.ports import find_free
from services.chassis import broker, server
from services.chassis.broker import OutgoingMessage, Publisher
from services.chassis.client import Upstream
from services.chassis.database import LockTimeout, Pool, close_pool
from services.chassis.roles import Runtime
from services.chassis.service_tokens import Identity, TokenVerifier
from services.contracts.identifiers import new_id
from services.contracts.messages import TransferEvent, decode_envelope, encode_envelope, encode_item
from services.contracts.messages import decode_event as decode
from services.contracts.refusal import Refusal
from services.contracts.topology import FINALIZED_QUEUE, TRANSFERS_FINALIZED
from services.notification import commands, metrics, pending
from services.notification.catch_up import EVENTS_MAX, PAGE_MAX, CatchUp
from services.notification.settings import WorkerSettings
from services.notification.store import Finalized
from services.notification.wakeup import FeedWakeup
from services.notification.worker import serve_worker
from services.transaction import api, store
from services.transaction import commands as transaction
from services.transaction.app import PLANNER
from services.transaction.store import Draft, WalletResult
from services.transaction.transfer import PENDING, Transfer, request_hash
from tests.harness.databases import TestDatabase
from tests.harness.outbox_items import list_items
from tests.integration.notification.polling import until

SECONDS = 5.0
OTHERS = ("gateway", "auth", "transaction-worker", "notification", "notification-deliver")


@dataclass(slots=True)
class Transfers:
    """The transaction service: its database, its api, and the events that it published, which may be lost."""

    pool: Pool
    verifier: TokenVerifier
    stack: AsyncExitStack
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self) -> None:
        app = server.application("transaction")
        app[api.POOL] = self.pool
        api.add_routes(app, self.verifier)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        self.stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", self.port).start()

    async def accept(self, count: int, **changes: object) -> list[WalletResult]:
        """PENDING transfers, and their outcomes: every third one is rejected."""
        drafts = [_draft(**changes) for _ in range(count)]
        assert count == len(await transaction.accept_transfers(self.pool, drafts))
        said = [("rejected", "insufficient_funds") if number % 3 == 2 else ("posted", None) for number in range(count)]
        long_ago = datetime.now(UTC) - timedelta(hours=1)
        return [
            WalletResult(draft.transfer.id, outcome, reason, long_ago, None)
            for draft, (outcome, reason) in zip(drafts, said, strict=True)
        ]

    async def finalize(self, count: int, **changes: object) -> list[TransferEvent]:
        """Transfers finalized just now; their events, as in the outbox."""
        outcomes = await self.accept(count, **changes)
        for start in range(0, count, 400):
            assert len(outcomes[start : start + 400]) == await transaction.finalize_transfers(
                self.pool, outcomes[start : start + 400]
            )
        return await self.events([one.transfer_id for one in outcomes])

    async def events(self, transfer_ids: Sequence[UUID]) -> list[TransferEvent]:
        items = await list_items(self.pool, TRANSFERS_FINALIZED)
        bundle = encode_envelope(TRANSFERS_FINALIZED, items, sent_at=datetime.now(UTC))
        events = {event.transfer_id: event for event in map(decode, decode_envelope(TRANSFERS_FINALIZED, bundle).items)}
        return [events[id_] for id_ in transfer_ids]


def _draft(**changes: object) -> Draft:
    now = datetime.now(UTC)
    source, destination = new_id(), new_id()
    transfer = Transfer(
        id=new_id(),
        user_id=new_id(),
        recipient_id=new_id(),
        kind="transfer",
        status=PENDING,
        amount=1050,
        currency="USD",
        from_wallet_id=source,
        to_wallet_id=destination,
        description='Lunch, "quoted"',
        metadata=None,
        request_hash=request_hash(source, destination, 1050, "USD"),
        created_at=now,
        expires_at=now + timedelta(seconds=60),
        completed_at=None,
        failed_at=None,
        failure_code=None,
    )._replace(**changes)  # type: ignore[arg-type]
    return Draft(transfer, str(new_id()), bytes(32), str(new_id()), None)


@pytest.fixture
async def transfers(
    transaction_database: TestDatabase,
    seeds: dict[str, str],
    public_keys: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Transfers]:
    """Not served yet. Without grace: finalized transfers are listed at once."""
    monkeypatch.setattr(transaction, "FINALIZED_GRACE_SECONDS", 0.0)
    keys = Identity.from_base64(seeds["notification"], public_keys).public_keys
    async with AsyncExitStack() as stack:
        pool = await transaction_database.pool(**PLANNER)
        stack.push_async_callback(close_pool, pool)
        yield Transfers(pool, TokenVerifier(keys, audience="transaction"), stack, find_free())


@pytest.fixture
async def upstream(transfers: Transfers, seeds: dict[str, str], public_keys: dict[str, str]) -> AsyncIterator[Upstream]:
    """The transaction service, as the worker calls it."""
    await transfers.serve()
    identity = Identity.from_base64(seeds["notification-worker"], public_keys)
    made = Upstream("notification", "transaction", transfers.url, identity)
    yield made
    await made.close()


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


async def test_slow_transfer_gets_a_pending_event(
    transfers: Transfers, catching_up: CatchUp, upstream: Upstream, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pending transfer is shown to its sender once; its outcome, of which no message arrives, is recorded as well."""
    monkeypatch.setattr(transaction, "PENDING_AGE_SECONDS", 0.0)
    monkeypatch.setattr(pending, "PAGE_MAX", 3)
    watch = pending.PendingPoller(pool, upstream, FeedWakeup(None))
    alice = new_id()
    outcomes = await transfers.accept(8, user_id=alice)
    await watch.poll()
    await watch.poll()
    outcomes += await transfers.accept(1, user_id=alice)
    await watch.poll()

    lines = await pool.fetch("SELECT payload->>'id' AS id, type FROM events WHERE user_id = $1 ORDER BY seq", alice)
    assert Counter({(str(one.transfer_id), "transfer.pending"): 1 for one in outcomes}) == Counter(map(tuple, lines))
    await transaction.finalize_transfers(transfers.pool, outcomes)
    assert 9 == await catching_up.catch_up()
    await watch.poll()
    assert 9 == await pool.fetchval("SELECT count(*) FROM events")


class RecordingWakeup(FeedWakeup):
    """A wake-up that records its users."""

    def __init__(self) -> None:
        super().__init__(None)
        self.rung: list[set[UUID]] = []

    def notify(self, user_ids: Iterable[UUID]) -> None:
        self.rung.append(set(user_ids))


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


async def test_late_pending_event_wakes_the_sender(
    transfers: Transfers, upstream: Upstream, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transfer that becomes visible after one that expires later is recorded once; its sender is woken up."""
    monkeypatch.setattr(transaction, "PENDING_AGE_SECONDS", 0.0)
    wakeup = RecordingWakeup()
    watch = pending.PendingPoller(pool, upstream, wakeup)
    expires_at = datetime.now(UTC) + timedelta(minutes=10)
    alice, bob = new_id(), new_id()

    await transfers.accept(1, user_id=alice, expires_at=expires_at)
    await watch.poll()
    await transfers.accept(1, user_id=bob, expires_at=expires_at - timedelta(seconds=1.5))
    for _ in range(2):
        await watch.poll()

    lines = await pool.fetch("SELECT user_id, type FROM events ORDER BY user_id")
    assert sorted([(alice, "transfer.pending"), (bob, "transfer.pending")]) == [tuple(row) for row in lines]
    assert [{alice}, {bob}] == wakeup.rung
