"""The relay on a real database: each row is published at least once, and none is abandoned."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import pytest

from services.chassis import outbox
from services.chassis.broker import OutgoingMessage, Publisher, PublishFailed
from services.chassis.database import Pool, close_pool
from services.chassis.outbox import KEEP_PUBLISHED_SECONDS, Relay, Row
from services.chassis.roles import Runtime
from services.contracts.identifiers import first_id_at, new_id
from services.contracts.topology import TRANSFERS_REQUESTED
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


@pytest.fixture
async def pool(transaction_database: TestDatabase) -> AsyncIterator[Pool]:
    opened = await transaction_database.pool()
    yield opened
    await close_pool(opened)


def relay(pool: Pool, publisher: Publisher) -> Relay:
    return Relay(pool, publisher, Runtime(service="test", role="relay", instance="test"))


async def append(pool: Pool, *ids: UUID) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await outbox.append(connection, TRANSFERS_REQUESTED, [Row(id_, "{}") for id_ in ids])


async def unpublished(pool: Pool) -> int:
    return await pool.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL")


async def test_rows_wait_for_an_unavailable_broker(pool: Pool) -> None:
    """Guarantee 36: without a confirm a row is not published; when the broker returns, it is."""
    await append(pool, *(new_id() for _ in range(100)))

    without = await relay(pool, Publisher("amqp://unused:nothing@127.0.0.1:9/", "test"))._pass()
    waiting = await unpublished(pool)
    await pool.execute("UPDATE outbox SET claimed_until = clock_timestamp()")
    back = await relay(pool, Broker())._pass()

    assert ((0, 100), 100) == (without, waiting)
    assert ((100, 0), 0) == (back, await unpublished(pool))


async def test_two_relays_do_not_publish_the_same_rows(pool: Pool) -> None:
    """Another relay does not claim the rows that one has claimed, but claims new rows."""
    slow, quick = Broker(may_confirm=False), Broker()
    await append(pool, *(new_id() for _ in range(10)))

    first = asyncio.create_task(relay(pool, slow)._pass())
    async with asyncio.timeout(30):
        await slow.called.wait()
    second = await relay(pool, quick)._pass()
    await append(pool, new_id())
    third = await relay(pool, quick)._pass()
    slow.may_confirm.set()

    assert ((10, 0), (0, 0), (1, 0)) == (await first, second, third)
    assert (1, 1) == (len(slow.messages), len(quick.messages))


async def test_rows_of_a_dead_relay_are_published(pool: Pool) -> None:
    """The lease of a relay that died between claim and confirm expires; another relay publishes its rows."""
    await append(pool, new_id(), new_id())
    doomed = Broker(may_confirm=False)
    dying = asyncio.create_task(relay(pool, doomed)._pass())
    async with asyncio.timeout(30):
        await doomed.called.wait()
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)

    leased = await relay(pool, Broker())._pass()
    await pool.execute("UPDATE outbox SET claimed_until = clock_timestamp() - interval '1 ms'")

    assert (0, 0) == leased
    assert (2, 0) == await relay(pool, Broker())._pass()


async def test_only_published_rows_are_pruned(pool: Pool) -> None:
    """Pruning deletes rows published long ago; rows without a confirm stay, however old they are."""
    long_ago = first_id_at(time.time() - KEEP_PUBLISHED_SECONDS - 60)
    stuck = first_id_at(time.time() - KEEP_PUBLISHED_SECONDS - 3600)
    recent = new_id()
    await append(pool, long_ago, stuck, recent)
    await pool.execute("UPDATE outbox SET published_at = clock_timestamp() WHERE id <> $1", stuck)

    pruning = asyncio.create_task(relay(pool, Broker())._prune())
    async with asyncio.timeout(30):
        while await pool.fetchval("SELECT count(*) FROM outbox WHERE id = $1", long_ago):
            await asyncio.sleep(0.01)
    pruning.cancel()

    assert [stuck, recent] == [row["id"] for row in await pool.fetch("SELECT id FROM outbox ORDER BY id")]
