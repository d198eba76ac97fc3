"""The relay on a real database: each row is published at least once, and none is given up."""

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
    """A broker that confirms everything, at once or when it is let."""

    def __init__(self, *, may_confirm: bool = True) -> None:
        self.messages: list[OutgoingMessage] = []
        self.asked = asyncio.Event()
        self.may_confirm = asyncio.Event()
        if may_confirm:
            self.may_confirm.set()

    async def publish(self, messages: Sequence[OutgoingMessage]) -> list[PublishFailed | None]:
        self.messages += messages
        self.asked.set()
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


async def test_rows_wait_for_a_broker_that_is_away(pool: Pool) -> None:
    """Guarantee 36: without a confirm a row is not published; with the broker back it is."""
    await append(pool, *(new_id() for _ in range(100)))

    without = await relay(pool, Publisher("amqp://nobody:nothing@127.0.0.1:9/", "test"))._pass()
    waiting = await unpublished(pool)
    await pool.execute("UPDATE outbox SET claimed_until = clock_timestamp()")
    back = await relay(pool, Broker())._pass()

    assert ((0, 100), 100) == (without, waiting)
    assert ((100, 0), 0) == (back, await unpublished(pool))


async def test_two_relays_do_not_publish_the_same_rows(pool: Pool) -> None:
    """What one relay has claimed, and waits for, is not there for another; what comes meanwhile is."""
    slow, quick = Broker(may_confirm=False), Broker()
    await append(pool, *(new_id() for _ in range(10)))

    first = asyncio.create_task(relay(pool, slow)._pass())
    async with asyncio.timeout(30):
        await slow.asked.wait()
    second = await relay(pool, quick)._pass()
    await append(pool, new_id())
    third = await relay(pool, quick)._pass()
    slow.may_confirm.set()

    assert ((10, 0), (0, 0), (1, 0)) == (await first, second, third)
    assert (1, 1) == (len(slow.messages), len(quick.messages))


async def test_rows_of_a_dead_relay_are_published(pool: Pool) -> None:
    """A relay that died between claim and confirm leaves a lease that runs out; another publishes its rows."""
    await append(pool, new_id(), new_id())
    doomed = Broker(may_confirm=False)
    dying = asyncio.create_task(relay(pool, doomed)._pass())
    async with asyncio.timeout(30):
        await doomed.asked.wait()
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)

    leased = await relay(pool, Broker())._pass()
    await pool.execute("UPDATE outbox SET claimed_until = clock_timestamp() - interval '1 ms'")

    assert (0, 0) == leased
    assert (2, 0) == await relay(pool, Broker())._pass()


async def test_old_rows_go_when_they_are_published_and_not_before(pool: Pool) -> None:
    """Pruning takes what was published long ago; what no confirm covers stays, however old it is."""
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
