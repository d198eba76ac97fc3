"""Sealing under load: no row is missed, whatever the order of commits."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from services.chassis.database import Connection, LockTimeout, Pool, close_pool
from services.chassis.roles import Runtime
from services.contracts.identifiers import new_id
from services.wallet import commands, seal, store
from services.wallet.proof import verify
from services.wallet.seal import Head, HeadLost, State
from services.wallet.sealer import Sealer
from tests.harness.databases import TestDatabase
from tests.harness.ledgers import fund, post, posting, random_posting

VOID = """INSERT INTO outcomes (transfer_id, outcome, reason, request_hash, at)
          VALUES ($1, 'voided', 'cancelled', sha256('x'), clock_timestamp())"""


@pytest.fixture
async def seal_pool(wallet_database: TestDatabase) -> AsyncIterator[Pool]:
    opened = await wallet_database.pool(wallet_database.seal_url)
    yield opened
    await close_pool(opened)


@pytest.fixture
async def late(pool: Pool) -> AsyncIterator[Connection]:
    """A connection of the role of the service that will commit late."""
    async with pool.acquire() as connection:
        yield connection


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """No slack: the rule alone decides what a block covers."""
    monkeypatch.setattr(seal, "SLACK", timedelta(0))
    monkeypatch.setattr(seal, "OVERLAP", timedelta(0))


async def seal_all(pool: Pool) -> Head:
    """Seal until there is nothing left."""
    while (
        sealed := await commands.seal_rows(pool, recorded_head=None, thorough=True, with_accounts=True)
    ).more or sealed.outcomes:
        pass
    assert sealed.head is not None
    return sealed.head


async def faults(pool: Pool) -> dict[str, str]:
    return {check.name: check.detail for check in (await verify(pool)).checks if not check.ok}


async def begin_void(connection: Connection) -> tuple[UUID, Callable[[], Awaitable[None]]]:
    """Write a void in a transaction that stays open; a function that commits it."""
    transaction = connection.transaction()
    await transaction.start()
    # A post has its number before it reads the clock: it locks first.
    await connection.fetchval("SELECT pg_current_xact_id()")
    transfer_id = new_id()
    await connection.execute(VOID, transfer_id)
    return transfer_id, transaction.commit


@pytest.mark.usefixtures("strict")
async def test_a_late_commit_is_sealed(pool: Pool, seal_pool: Pool, late: asyncpg.Connection) -> None:
    """A transaction commits after others that began later were sealed, several times over: it is in the next block."""
    alice, bob = await fund(pool, [1000, 0])
    await seal_all(seal_pool)
    transfer_id, commit = await begin_void(late)
    for _ in range(4):
        await post(pool, posting(alice, bob, 1))
        await seal_all(seal_pool)
    before = await faults(seal_pool)
    await commit()
    await seal_all(seal_pool)

    assert {} == before == await faults(seal_pool)
    assert 1 == await seal_pool.fetchval("SELECT count(*) FROM blocks WHERE $1 = ANY (outcomes)", transfer_id)


@pytest.mark.usefixtures("strict")
async def test_without_the_rule_a_late_commit_is_missed_and_reported(
    pool: Pool, seal_pool: Pool, late: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sealer that uses the clock as the frontier misses late commits, and `verify` reports them."""

    def close(state: State, *, thorough: bool, unread_from: datetime | None) -> datetime | None:
        return unread_from or state.now

    monkeypatch.setattr(seal, "close", close)
    alice, bob = await fund(pool, [1000, 0])
    await seal_all(seal_pool)
    transfer_id, commit = await begin_void(late)
    for _ in range(2):
        await post(pool, posting(alice, bob, 1))
        await seal_all(seal_pool)
    await commit()
    await seal_all(seal_pool)

    assert f"transfer {transfer_id} of " in (await faults(seal_pool))["nothing_came_late"]


@pytest.mark.usefixtures("strict")
async def test_nothing_is_missed_under_load(pool: Pool, seal_pool: Pool) -> None:
    """Posts from several connections, transactions that commit late, two sealers at once: each row in exactly one block."""
    wallets = await fund(pool, [50] * 6)
    await seal_all(seal_pool)
    rng = random.Random(17)
    done = asyncio.Event()

    async def hammer() -> None:
        for _ in range(25):
            await post(pool, *(random_posting(rng, wallets, 40) for _ in range(rng.randint(1, 8))))

    async def commit_late() -> None:
        for _ in range(12):
            async with pool.acquire() as connection:
                _, commit = await begin_void(connection)
                await asyncio.sleep(rng.random() / 10)
                await commit()

    async def seal_on() -> None:
        while not done.is_set():
            try:
                await commands.seal_rows(
                    seal_pool, recorded_head=None, thorough=rng.random() < 0.3, with_accounts=rng.random() < 0.1
                )
            except LockTimeout:
                continue
            await asyncio.sleep(rng.random() / 200)

    sealers = [asyncio.create_task(seal_on()) for _ in range(2)]
    await asyncio.gather(*(hammer() for _ in range(4)), *(commit_late() for _ in range(3)))
    done.set()
    await asyncio.gather(*sealers)
    await seal_all(seal_pool)

    sealed = Counter(row["id"] for row in await seal_pool.fetch("SELECT unnest(outcomes) AS id FROM blocks"))
    assert {row["transfer_id"] for row in await pool.fetch("SELECT transfer_id FROM outcomes")} == set(sealed)
    assert {1} == set(sealed.values())
    assert {} == await faults(seal_pool)
    assert await seal_pool.fetchval("SELECT count(*) FROM blocks") > 5


async def test_no_row_is_lost_when_the_clock_is_set_back(
    pool: Pool, seal_pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks were sealed an hour ahead and the clock is set back: new rows are sealed, and none is reported as late."""
    read = store.read_seal_state

    async def read_ahead(connection: Connection) -> State:
        state = await read(connection)
        return state._replace(now=state.now + timedelta(hours=1))

    alice, bob = await fund(pool, [1000, 0])
    with monkeypatch.context() as ahead:
        ahead.setattr(store, "read_seal_state", read_ahead)
        for _ in range(2):
            await post(pool, posting(alice, bob, 1))
            await seal_all(seal_pool)
    frontier = await seal_pool.fetchval("SELECT max(frontier) - clock_timestamp() FROM blocks")
    for _ in range(3):
        await post(pool, posting(alice, bob, 1))
        await seal_all(seal_pool)

    assert frontier > timedelta(minutes=50)
    assert 6 == await seal_pool.fetchval("SELECT sum(cardinality(outcomes)) FROM blocks")
    assert {} == await faults(seal_pool)


async def test_a_block_has_a_maximum_size(pool: Pool, seal_pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than fits into a block: the rest goes into the next ones, and the frontier does not pass the rest."""
    monkeypatch.setattr(commands, "SEAL_MAX", 7)
    alice, bob = await fund(pool, [1000, 0])
    for _ in range(3):
        await post(pool, *(posting(alice, bob, 1) for _ in range(6)))

    first = await commands.seal_rows(seal_pool, recorded_head=None, thorough=True, with_accounts=True)
    await post(pool, posting(alice, bob, 1))
    await seal_all(seal_pool)

    assert (7, True) == (first.outcomes, first.more)
    assert 20 == await seal_pool.fetchval("SELECT sum(cardinality(outcomes)) FROM blocks")
    assert {} == await faults(seal_pool)


async def test_the_sealer_role(pool: Pool, seal_pool: Pool) -> None:
    """The role seals, runs the proof and stores the run, until stopped. If its last block is missing, it seals nothing more."""
    alice, bob = await fund(pool, [1000, 0])
    runtime = Runtime(service="wallet", role="seal", instance="test")
    sealer = Sealer(seal_pool, runtime, every_seconds=0.01, proof_every_seconds=0.01)
    tasks = [asyncio.create_task(sealer.run()), asyncio.create_task(sealer.prove())]
    await post(pool, *(posting(alice, bob, 1) for _ in range(10)))

    async with asyncio.timeout(30):
        while (proof := await commands.find_last_proof(pool)) is None or proof.head is None or not proof.ok:
            await asyncio.sleep(0.01)
        while await seal_pool.fetchval("SELECT sum(cardinality(outcomes)) FROM blocks") != 11:
            await asyncio.sleep(0.01)
    runtime.stopping.set()
    await asyncio.gather(*tasks)

    assert 12 == len(proof.checks)
    with pytest.raises(HeadLost):
        await commands.seal_rows(seal_pool, recorded_head=Head(1, bytes(32)), thorough=True, with_accounts=False)
