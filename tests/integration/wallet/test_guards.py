"""Guards of the ledger that only a certain order of events tests; each test forces that order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest

from services.chassis.database import Pool, close_pool
from services.contracts.identifiers import new_id
from services.wallet import commands, ledger, store
from services.wallet.app import PLANNER
from services.wallet.commands import Void
from services.wallet.ledger import Decision, Outcome
from tests.harness.databases import TestDatabase
from tests.harness.ledgers import balance, fund, post, posting
from tests.harness.locks import PATIENT, until_waiting

HASH = b"request"


@pytest.fixture
async def patient(pool: Pool, wallet_database: TestDatabase) -> AsyncIterator[Pool]:
    """A pool as the service opens it, but without a lock timeout: a wait ends when the lock is free, or in a deadlock."""
    opened = await wallet_database.pool(**PLANNER, **PATIENT)
    yield opened
    await close_pool(opened)


def rejected(transfer_id: UUID) -> Outcome:
    return Outcome(
        transfer_id, "rejected", "wallet_not_found", HASH, None, None, None, None, None, datetime.now(UTC)
    )  # fmt: skip


async def voided(pool: Pool, *transfer_ids: UUID) -> list[str]:
    voids = [Void(id_, "timed_out", HASH) for id_ in transfer_ids]
    return [result.outcome for result in await commands.void_transfers(pool, voids)]


async def record(pool: Pool, transfer_ids: Sequence[UUID]) -> None:
    outcomes = [rejected(id_) for id_ in transfer_ids]
    async with pool.acquire() as connection, connection.transaction():
        await store.write_decision(connection, Decision(datetime.now(UTC), outcomes, [], [], []))


async def test_a_second_outcome_is_not_written(pool: Pool) -> None:
    """Guarantee 2: a second outcome of an id is not written, and its caller gets the first one."""
    alice, bob = await fund(pool, [100, 0])
    item = posting(alice, bob, 10)

    first = await post(pool, item)
    with pytest.raises(store.OutcomeExists):
        await record(pool, [item.transfer_id])
    [void] = await commands.void_transfers(pool, [Void(item.transfer_id, "timed_out", item.request_hash)])

    assert (["posted"], "posted") == (first, void.outcome)
    assert 1 == await pool.fetchval("SELECT count(*) FROM outcomes WHERE transfer_id = $1", item.transfer_id)


async def test_outcomes_are_inserted_in_one_order(patient: Pool) -> None:
    """A batch that names its ids backwards and a void of the same ids wait for each other; neither fails with a deadlock."""
    first, middle, last = sorted(new_id() for _ in range(3))

    async with patient.acquire() as holder:
        transaction = holder.transaction()
        await transaction.start()
        await store.insert_voids(holder, [middle], ["timed_out"], [HASH])
        batch = asyncio.create_task(record(patient, [last, middle, first]))
        await until_waiting(patient, 1)
        void = asyncio.create_task(voided(patient, first, last))
        await until_waiting(patient, 2)
        await transaction.rollback()

    await batch
    assert ["rejected", "rejected"] == await void


async def test_voids_are_inserted_in_one_order(patient: Pool) -> None:
    """Two voids that name the same ids in opposite orders wait for each other; neither fails with a deadlock."""
    first, middle, last = sorted(new_id() for _ in range(3))

    async with patient.acquire() as holder:
        transaction = holder.transaction()
        await transaction.start()
        await store.insert_voids(holder, [middle], ["timed_out"], [HASH])
        backwards = asyncio.create_task(voided(patient, last, middle, first))
        await until_waiting(patient, 1)
        forwards = asyncio.create_task(voided(patient, first, last))
        await until_waiting(patient, 2)
        await transaction.rollback()

    assert (["voided"] * 3, ["voided"] * 2) == (await backwards, await forwards)


async def test_accounts_are_locked_in_one_order(patient: Pool) -> None:
    """Guarantee 12: two batches that name the same accounts in opposite orders wait; neither fails with a deadlock."""
    first, middle, last = sorted(await fund(patient, [100, 100, 100]))

    # Not through `post_transfers`, which would hide a deadlock by halving and a retry.
    async with patient.acquire() as holder:
        transaction = holder.transaction()
        await transaction.start()
        await store.lock_accounts(holder, [middle])
        downwards = asyncio.create_task(
            commands._post(patient, [posting(last, middle, 10), posting(middle, first, 10)])
        )
        await until_waiting(patient, 1)
        upwards = asyncio.create_task(commands._post(patient, [posting(first, last, 10)]))
        await until_waiting(patient, 2)
        await transaction.rollback()

    assert ["posted"] * 3 == [result.outcome for result in [*await downwards, *await upwards]]


async def test_a_copy_that_waited_for_the_accounts_reads_the_outcome(patient: Pool) -> None:
    """Guarantee 2: a copy that waited for the accounts gets the outcome posted meanwhile; money moves once."""
    alice, bob = await fund(patient, [100, 0])
    item = posting(alice, bob, 60)

    async with patient.acquire() as poster:
        transaction = poster.transaction()
        await transaction.start()
        accounts, _ = await store.lock_accounts(poster, [alice, bob])
        # Not through `post_transfers`, which would hide an attempt that failed.
        copy = asyncio.create_task(commands._post(patient, [item]))
        await until_waiting(patient, 1)
        await store.write_decision(poster, ledger.decide(accounts, [item], {}, datetime.now(UTC)))
        await transaction.commit()

    assert ["posted"] == [result.outcome for result in await copy]
    assert (40, 60) == (await balance(patient, alice), await balance(patient, bob))


async def test_accounts_stay_locked_until_the_decision_is_committed(
    patient: Pool, wallet_database: TestDatabase
) -> None:
    """Guarantee 13: between the locks and the commit of a batch, no other batch decides on the same balance."""
    alice, bob = await fund(patient, [100, 0])
    first, second = posting(alice, bob, 100), posting(alice, bob, 100)
    owner = await asyncpg.connect(wallet_database.owner_url)

    # Each batch waits when it reads outcomes, after it has locked its accounts.
    transaction = owner.transaction()
    await transaction.start()
    await owner.execute("LOCK TABLE outcomes")
    deciding = asyncio.create_task(post(patient, first))
    await until_waiting(patient, 1)
    waiting = asyncio.create_task(post(patient, second))
    await until_waiting(patient, 2)
    await transaction.rollback()
    results = [await deciding, await waiting]
    await owner.close()

    assert [["posted"], ["rejected:insufficient_funds"]] == results
    assert 100 == await balance(patient, bob)


async def test_a_transfer_that_expires_while_it_waits_is_voided(patient: Pool) -> None:
    """Expiry is checked after the wait for the accounts: a transfer that expired meanwhile moves nothing."""
    alice, bob = await fund(patient, [100, 0])
    item = posting(alice, bob, 10, seconds=0.5)

    async with patient.acquire() as holder:
        transaction = holder.transaction()
        await transaction.start()
        await store.lock_accounts(holder, [alice, bob])
        waiting = asyncio.create_task(post(patient, item))
        await until_waiting(patient, 1)
        async with asyncio.timeout(30):
            while not await patient.fetchval("SELECT clock_timestamp() > $1", item.expires_at):
                await asyncio.sleep(0.01)
        await transaction.rollback()

    assert ["voided:timed_out"] == await waiting
    assert 100 == await balance(patient, alice)


async def test_a_clock_set_back_does_not_reach_the_entries(pool: Pool) -> None:
    """The last entry of an account is dated an hour ahead of the clock: the next entry is not dated before it."""
    alice, bob = await fund(pool, [100, 0])
    ahead = await pool.fetchval(
        "UPDATE accounts SET last_entry_at = clock_timestamp() + interval '1 hour' WHERE id = $1 RETURNING last_entry_at",
        alice,
    )
    item = posting(alice, bob, 10, seconds=7200)

    assert ["posted"] == await post(pool, item)

    dates = await pool.fetch("SELECT created_at FROM entries WHERE transfer_id = $1", item.transfer_id)
    assert [ahead, ahead] == [row["created_at"] for row in dates]


@pytest.mark.parametrize("table", ["entries", "accounts"])
async def test_an_outcome_without_its_entries_is_rolled_back(
    pool: Pool, wallet_database: TestDatabase, table: str
) -> None:
    """While entries or balances cannot be written a transfer has no outcome either; later the same transfer is posted."""
    alice, bob = await fund(pool, [100, 0])
    item = posting(alice, bob, 10)
    owner = await asyncpg.connect(wallet_database.owner_url)

    await owner.execute(f"ALTER TABLE {table} ADD CONSTRAINT drill CHECK (false) NOT VALID")
    failed = await post(pool, item)
    kept = await pool.fetchval("SELECT count(*) FROM outcomes WHERE transfer_id = $1", item.transfer_id)
    await owner.execute(f"ALTER TABLE {table} DROP CONSTRAINT drill")
    await owner.close()

    assert (["retry"], 0) == (failed, kept)
    assert ["posted"] == await post(pool, item)
    assert 90 == await balance(pool, alice)


@pytest.mark.parametrize("role", ["service", "owner"])
@pytest.mark.parametrize("action", ["DELETE FROM accounts", "TRUNCATE accounts"])
async def test_an_account_cannot_be_removed(pool: Pool, wallet_database: TestDatabase, role: str, action: str) -> None:
    """An account cannot be removed, with or without a balance, by the service or by the owner of the table."""
    await fund(pool, [100, 0])
    connection = await asyncpg.connect(
        wallet_database.owner_url if role == "owner" else wallet_database.service_url
    )  # fmt: skip

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(action)

    await connection.close()
