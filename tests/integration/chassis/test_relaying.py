"""Relays on a real database: each row is published at least once, by the relay that has the lease."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from services.chassis import database, outbox
from services.chassis.broker import OutgoingMessage, Publisher, PublishFailed
from services.chassis.database import Pool, close_pool
from services.chassis.outbox import KEEP_PUBLISHED_SECONDS, Item, Relay
from services.chassis.roles import Runtime
from services.contracts.identifiers import first_id_at, new_id
from services.contracts.topology import TRANSFERS_FINALIZED, TRANSFERS_REQUESTED
from tests.harness import job_metrics
from tests.harness.databases import TestDatabase


class Broker(Publisher):
    """A broker that confirms everything, at once or when the test allows it."""

    def __init__(self, *, may_confirm: bool = True) -> None:
        self.messages: list[OutgoingMessage] = []
        self.called = asyncio.Event()
        self.may_confirm = asyncio.Event()
        if may_confirm:
            self.may_confirm.set()

    async def publish(self, messages: Sequence[OutgoingMessage]) -> list[PublishFailed | None]:
        self.messages += messages
        self.called.set()
        await self.may_confirm.wait()
        return [None] * len(messages)


class CommandsRefused(Publisher):
    """A broker whose queue of commands has no leader."""

    def __init__(self) -> None:
        pass

    async def publish(self, messages: Sequence[OutgoingMessage]) -> list[PublishFailed | None]:
        return [
            PublishFailed("timeout") if message.routing_key == TRANSFERS_REQUESTED.type else None
            for message in messages
        ]


@pytest.fixture
async def pool(transaction_database: TestDatabase) -> AsyncIterator[Pool]:
    opened = await transaction_database.pool()
    yield opened
    await close_pool(opened)


def relay(pool: Pool, publisher: Publisher) -> Relay:
    return Relay(pool, publisher, Runtime(service="test", role="relay", instance="test"))


async def leader(pool: Pool, publisher: Publisher) -> Relay:
    """A relay that has the lease, as if every other had just ended."""
    await end_lease(pool)
    made = relay(pool, publisher)
    await made._take_lease()
    return made


async def end_lease(pool: Pool) -> None:
    await pool.execute("UPDATE leases SET expires_at = clock_timestamp() - interval '1 ms'")


@asynccontextmanager
async def running(one: Relay) -> AsyncIterator[None]:
    """A running relay, stopped at the end of the block."""
    task = asyncio.create_task(one.run())
    try:
        yield
    finally:
        one._runtime.stopping.set()
        await task


async def append(pool: Pool, *ids: UUID) -> None:
    async with database.transaction(pool) as connection:
        await outbox.append(connection, TRANSFERS_REQUESTED, [Item(id_, id_, "{}") for id_ in ids])


async def unpublished(pool: Pool) -> int:
    async with database.connection(pool) as connection:
        return int((await outbox.measure(connection))["unpublished"])


async def published(pool: Pool) -> None:
    """Wait until nothing is left."""
    async with asyncio.timeout(60):
        while await unpublished(pool):
            await asyncio.sleep(0.01)


async def test_rows_wait_for_an_unavailable_broker(pool: Pool) -> None:
    """Guarantee 36: without a confirm a row is not published; when the broker returns, it is."""
    await append(pool, *(new_id() for _ in range(100)))

    without = await (await leader(pool, Publisher("amqp://unused:nothing@127.0.0.1:9/", "test")))._pass()
    waiting = await unpublished(pool)
    await pool.execute("UPDATE outbox SET claimed_until = clock_timestamp()")
    back = await (await leader(pool, Broker()))._pass()

    assert ((0, 100), 100) == (without, waiting)
    assert ((100, 0), 0) == (back, await unpublished(pool))


async def test_a_relay_without_the_lease_publishes_nothing(pool: Pool) -> None:
    """While one relay publishes, another one does not publish the same rows, nor new ones. The first one publishes them next."""
    slow, standing_by = Broker(may_confirm=False), Broker()
    second = relay(pool, standing_by)
    await append(pool, *(new_id() for _ in range(10)))

    publishing = asyncio.create_task((await leader(pool, slow))._pass())
    async with asyncio.timeout(30):
        await slow.called.wait()
    await second._take_lease()
    same = await second._pass()
    await append(pool, new_id())
    new = await second._pass()
    slow.may_confirm.set()

    assert ((11, 0), (0, 0), (0, 0)) == (await publishing, same, new)
    assert (2, 0, 0) == (len(slow.messages), len(standing_by.messages), await unpublished(pool))


async def test_rows_are_marked_only_after_their_confirm(pool: Pool) -> None:
    """While the broker has not confirmed a message, its row is unpublished and has its body."""
    slow = Broker(may_confirm=False)
    await append(pool, new_id())

    publishing = asyncio.create_task((await leader(pool, slow))._pass())
    async with asyncio.timeout(30):
        await slow.called.wait()
    during = tuple(*await pool.fetch("SELECT published_at, body FROM outbox"))
    slow.may_confirm.set()
    await publishing
    after = tuple(*await pool.fetch("SELECT published_at IS NULL, body FROM outbox"))

    assert ((None, "{}"), (False, "")) == (during, after)


async def test_rows_of_a_dead_relay_are_published(pool: Pool) -> None:
    """A relay died between reading and confirm: another one publishes its rows when the lease has expired, and not before."""
    await append(pool, new_id(), new_id())
    doomed, second = Broker(may_confirm=False), relay(pool, Broker())
    dying = asyncio.create_task((await leader(pool, doomed))._pass())
    async with asyncio.timeout(30):
        await doomed.called.wait()
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)

    await second._take_lease()
    leased = await second._pass()
    await end_lease(pool)
    await second._take_lease()

    assert (0, 0) == leased
    assert (2, 0) == await second._pass()


async def test_a_frozen_relay_that_continues_does_no_harm(pool: Pool) -> None:
    """After the freeze it publishes and marks what it had read once more, loses nothing that came later, and reads no rows."""
    slow, quick = Broker(may_confirm=False), Broker()
    first, second = await leader(pool, slow), relay(pool, quick)
    await append(pool, new_id(), new_id())

    frozen = asyncio.create_task(first._pass())
    async with asyncio.timeout(30):
        await slow.called.wait()
    await end_lease(pool)
    await second._take_lease()
    replaced = await second._pass()
    await append(pool, new_id())
    slow.may_confirm.set()
    continued = await frozen
    await first._take_lease()
    without_lease = await first._pass()

    assert ((2, 0), (2, 0), (0, 0)) == (replaced, continued, without_lease)
    assert 1 == await unpublished(pool)
    assert (1, 0) == await second._pass()


async def test_a_working_relay_keeps_its_lease(pool: Pool) -> None:
    """A relay that waits for the broker longer than the lease lasts renews it: no other relay takes over."""
    slow = Broker(may_confirm=False)
    first, second = relay(pool, slow), relay(pool, Broker())
    await append(pool, new_id())

    async with running(first):
        async with asyncio.timeout(30):
            await slow.called.wait()
        began = await pool.fetchval("SELECT expires_at FROM leases")
        async with asyncio.timeout(60):
            while await pool.fetchval("SELECT clock_timestamp() <= $1", began):
                await asyncio.sleep(0.05)
        await second._take_lease()
        taken = await second._pass()
        slow.may_confirm.set()

    assert (0, 0) == taken


async def test_a_relay_that_is_gone_is_replaced(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that stands by takes over within the lease, without help, and publishes old and new rows."""
    monkeypatch.setattr(outbox, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(outbox, "LEASE_SECONDS", 0.5)
    await leader(pool, Broker())
    await append(pool, new_id())

    async with running(relay(pool, Broker())):
        await published(pool)
        await append(pool, new_id())
        await published(pool)


async def test_a_frozen_process_is_replaced(pool: Pool, transaction_database: TestDatabase) -> None:
    """The sessions of a frozen process stay open. Another relay takes over nevertheless."""
    command = (sys.executable, "-m", "tests.harness.relay_process", transaction_database.service_url)
    process = await asyncio.create_subprocess_exec(*command)
    try:
        await append(pool, new_id())
        await published(pool)
        process.send_signal(signal.SIGSTOP)
        await append(pool, new_id())
        async with running(relay(pool, Broker())):
            await published(pool)
        sessions = await pool.fetchval("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'relay'")
    finally:
        process.kill()
        await process.wait()

    assert sessions > 0


async def test_a_relay_without_its_broker_is_replaced(pool: Pool) -> None:
    """A relay that can publish nothing leaves the lease to one that can, does not take it back at once, and continues alone."""
    cut_off, second = relay(pool, Publisher("amqp://unused:nothing@127.0.0.1:9/", "test")), relay(pool, Broker())
    await append(pool, new_id())
    await cut_off._take_lease()

    failed = await cut_off._pass()
    await pool.execute("UPDATE outbox SET claimed_until = NULL")
    alone = await cut_off._pass()
    await pool.execute("UPDATE outbox SET claimed_until = NULL")
    await cut_off._take_lease()
    await second._take_lease()
    replaced = await second._pass()
    await end_lease(pool)
    await cut_off._take_lease()

    assert ((0, 1), (0, 1), (1, 0)) == (failed, alone, replaced)
    assert (False, True) == (cut_off.leads, second.leads)


async def test_a_lease_from_a_clock_that_was_set_back_is_free(pool: Pool) -> None:
    """A lease that ends later than any new lease could is taken: its end may be hours away."""
    one = await leader(pool, Broker())
    await append(pool, new_id())
    await pool.execute("UPDATE leases SET holder = 'stopped', expires_at = clock_timestamp() + interval '1 hour'")

    await one._take_lease()

    assert (True, (1, 0)) == (one.leads, await one._pass())


async def test_a_relay_that_stands_by_is_ready(pool: Pool) -> None:
    """The rows that a relay could not publish do not count once another relay has the lease."""
    cut_off = await leader(pool, Publisher("amqp://unused:nothing@127.0.0.1:9/", "test"))
    await append(pool, new_id())
    await cut_off._pass()
    with pytest.raises(ConnectionError):
        await cut_off.ping()

    await leader(pool, Broker())
    await cut_off._take_lease()

    await cut_off.ping()
    assert cut_off.failing is None


async def test_refused_rows_hold_up_no_other_topic(pool: Pool) -> None:
    """Events are published while there are more commands than one read takes, and the broker refuses them all."""
    commands = [new_id() for _ in range(2 * outbox.CLAIM_MAX)]
    await append(pool, *commands)
    async with database.transaction(pool) as connection:
        event = new_id()
        await outbox.append(connection, TRANSFERS_FINALIZED, [Item(event, event, "{}")])

    result = await (await leader(pool, CommandsRefused()))._pass()

    assert (1, len(commands)) == result


async def test_a_stopped_relay_releases_its_lease(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an orderly stop another relay need not wait for the end of the lease."""
    monkeypatch.setattr(outbox, "LEASE_SECONDS", 3600.0)
    second = relay(pool, Broker())
    await append(pool, new_id())

    async with running(relay(pool, Broker())):
        await published(pool)
    await append(pool, new_id())
    await second._take_lease()

    assert (1, 0) == await second._pass()


async def test_rows_without_a_notification_are_published(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several commits in a row with several items only the first one notifies; the relay finds the others."""
    notifications: list[str] = []
    monkeypatch.setattr(outbox, "NOTIFY_SECONDS", 3600.0)
    monkeypatch.setattr(outbox, "_loaded_at", -7200.0)

    async with pool.acquire() as listener:
        await listener.add_listener("outbox", lambda *_: notifications.append("outbox"))
        async with running(relay(pool, Broker())):
            for _ in range(5):
                await append(pool, new_id(), new_id())
                await published(pool)
        await listener.fetchval("SELECT 1")
        await listener.reset()

    assert ["outbox"] == notifications


async def test_a_single_item_notifies(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without load each commit wakes the relay."""
    notified = asyncio.Queue[str]()
    monkeypatch.setattr(outbox, "_loaded_at", time.monotonic())

    async with pool.acquire() as listener:
        await listener.add_listener("outbox", lambda *_: notified.put_nowait("outbox"))
        for _ in range(2):
            await append(pool, new_id())
            async with asyncio.timeout(30):
                await notified.get()
        await listener.reset()


async def test_only_published_rows_are_pruned(pool: Pool) -> None:
    """Pruning deletes rows published long ago; rows without a confirm stay, however old they are."""
    long_ago = first_id_at(time.time() - KEEP_PUBLISHED_SECONDS - 60)
    stuck = first_id_at(time.time() - KEEP_PUBLISHED_SECONDS - 3600)
    recent = new_id()
    for id_ in (long_ago, stuck, recent):
        await append(pool, id_)
    await pool.execute("UPDATE outbox SET published_at = clock_timestamp() WHERE id <> $1", stuck)

    pruning = asyncio.create_task(relay(pool, Broker())._prune())
    async with asyncio.timeout(30):
        while await pool.fetchval("SELECT count(*) FROM outbox WHERE id = $1", long_ago):
            await asyncio.sleep(0.01)
    pruning.cancel()

    assert [stuck, recent] == [row["id"] for row in await pool.fetch("SELECT id FROM outbox ORDER BY id")]


class AllRefused(CommandsRefused):
    """A broker that confirms nothing, and notes each attempt."""

    def __init__(self) -> None:
        self.attempts = 0
        self.attempted = asyncio.Event()

    async def publish(self, messages: Sequence[OutgoingMessage]) -> list[PublishFailed | None]:
        self.attempts += 1
        if self.attempts >= 2:
            self.attempted.set()
        return [PublishFailed("timeout")] * len(messages)


async def test_success_of_a_relay_that_leads(pool: Pool) -> None:
    """A relay with the lease and nothing to publish succeeds."""
    job_metrics.forget("test-relay")
    await end_lease(pool)

    async with running(relay(pool, Broker())), asyncio.timeout(60):
        while not job_metrics.last_success("test-relay"):
            await asyncio.sleep(0.02)


class NeverIdle(Broker):
    """A broker that confirms everything while new rows arrive, so that a pass of the relay does not end."""

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self._pool = pool

    async def publish(self, messages: Sequence[OutgoingMessage]) -> list[PublishFailed | None]:
        await append(self._pool, new_id())
        return await super().publish(messages)


async def test_success_of_a_relay_that_never_idles(pool: Pool) -> None:
    """A relay that always finds more to publish succeeds, although its pass does not end."""
    await append(pool, new_id())
    publisher = NeverIdle(pool)
    busy = await leader(pool, publisher)
    job_metrics.forget("test-relay")

    async with asyncio.timeout(60):
        passing = asyncio.create_task(busy._pass())
        while len(publisher.messages) < 3:
            await asyncio.sleep(0.01)
    succeeded = job_metrics.last_success("test-relay")
    busy._runtime.stopping.set()
    await passing

    assert succeeded


async def test_no_success_without_a_confirm(pool: Pool) -> None:
    """A relay that publishes nothing of what is due records no success."""
    await append(pool, new_id())
    refusing = AllRefused()
    started = await leader(pool, refusing)
    job_metrics.forget("test-relay")

    async with running(started), asyncio.timeout(60):
        await refusing.attempted.wait()

    assert not job_metrics.last_success("test-relay")


async def test_a_relay_that_stands_by_records_no_success(pool: Pool) -> None:
    """Otherwise it would hide that the one with the lease does not succeed."""
    await leader(pool, Broker())
    standby = relay(pool, Broker())
    passes, done = 0, asyncio.Event()
    one_pass = standby._pass

    async def count() -> tuple[int, int]:
        nonlocal passes
        passes += 1
        if passes == 3:
            done.set()
        return await one_pass()

    standby._pass = count  # type: ignore[method-assign]
    job_metrics.forget("test-relay")
    publishing = asyncio.create_task(standby._publish_all())
    async with asyncio.timeout(60):
        await done.wait()
    standby._runtime.stopping.set()
    await publishing

    assert not job_metrics.last_success("test-relay")
