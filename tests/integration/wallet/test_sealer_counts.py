"""The sealer: the size of its blocks, its counters, and its lag."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from services.chassis.database import Pool, close_pool
from services.chassis.roles import Runtime
from services.wallet import commands, metrics, seal, store
from services.wallet.sealer import Sealer
from tests.harness.databases import TestDatabase
from tests.harness.ledgers import fund, post, posting


@pytest.fixture
async def seal_pool(wallet_database: TestDatabase) -> AsyncIterator[Pool]:
    opened = await wallet_database.pool(wallet_database.seal_url)
    yield opened
    await close_pool(opened)


@pytest.fixture
def sealer(seal_pool: Pool) -> Sealer:
    """A thorough pass only once an hour, the first one at once."""
    runtime = Runtime(service="wallet", role="seal", instance="test")
    return Sealer(seal_pool, runtime, every_seconds=360.0, proof_every_seconds=3600.0)


async def sizes(pool: Pool) -> list[int]:
    rows = await pool.fetch("SELECT cardinality(outcomes) AS size FROM blocks ORDER BY number")
    return [row["size"] for row in rows]


async def test_only_blocks_with_rows_are_counted(sealer: Sealer, pool: Pool) -> None:
    """A pass with nothing to seal writes and counts no block; the gauge is the newest number."""
    before = metrics.SEALED_BLOCKS._value.get()
    alice, bob = await fund(pool, [100, 0])
    more = [await sealer.seal(), await sealer.seal()]
    await post(pool, posting(alice, bob, 1), posting(alice, bob, 1))
    more += [await sealer.seal(), await sealer.seal()]

    assert [False] * 4 == more
    assert [1, 2] == await sizes(pool)
    assert (2, 2) == (metrics.SEALED_BLOCKS._value.get() - before, metrics.SEAL_HEAD._value.get())


async def test_rows_that_did_not_fit_are_sealed_by_the_next_passes(
    sealer: Sealer, pool: Pool, seal_pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass that left rows reports it: the next one is thorough, too, until nothing is left."""
    monkeypatch.setattr(seal, "OVERLAP", timedelta(0))
    alice, bob = await fund(pool, [100, 0])
    # With a frontier (the second block is the first to have one), a pass that is not thorough scans new rows only.
    for _ in range(2):
        await commands.seal_rows(seal_pool, recorded_head=None, thorough=True, with_accounts=True)
        await post(pool, posting(alice, bob, 1))
    await sealer.seal()
    for _ in range(5):
        await post(pool, posting(alice, bob, 1))
    monkeypatch.setattr(commands, "SEAL_MAX", 2)
    complete_at = [sealer._complete_at]
    more = []
    for _ in range(3):
        more.append(await sealer.seal())
        complete_at.append(sealer._complete_at)

    assert ([True, True, False], [1, 1, 1, 2, 2, 1]) == (more, await sizes(pool))
    assert complete_at[0] == complete_at[1] == complete_at[2] < complete_at[3]


async def test_outcomes_are_sealed_in_the_order_of_their_time(
    sealer: Sealer, pool: Pool, seal_pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest first: what is left for the next block is never older than what is sealed."""
    monkeypatch.setattr(commands, "SEAL_MAX", 3)
    alice, bob = await fund(pool, [100, 0])
    for _ in range(6):
        await post(pool, posting(alice, bob, 1))
    while await sealer.seal():
        pass

    in_time = [
        row["transfer_id"] for row in await pool.fetch("SELECT transfer_id FROM outcomes ORDER BY at, transfer_id")
    ]
    async with seal_pool.acquire() as connection:
        blocks = await store.list_blocks(connection, 0, 10**6)
    assert in_time == [id_ for block, _ in blocks for id_ in block.outcomes.ids]
