"""The reversal against the real queries: which transfers it ends, in which order, and how many at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from services.chassis.database import close_pool
from services.chassis.roles import Runtime
from services.contracts.identifiers import new_id
from services.transaction import commands, commands_heartbeats, metrics, monitor, reversal
from services.transaction.commands import Accepted
from services.transaction.transfer import TIMED_OUT, Transfer
from services.transaction.wallet_client import WalletClient, WalletResponse
from tests.harness import ledgers
from tests.harness.databases import TestDatabase
from tests.harness.services import MoneyPath, accept, request


class Recording(WalletClient):
    """The wallet, and the transfers it was called to void, batch by batch."""

    def __init__(self, wallet: WalletClient) -> None:
        super().__init__(wallet._upstream)
        self.batches: list[list[UUID]] = []

    async def void(self, transfers: Sequence[tuple[UUID, bytes]], reason: str) -> list[WalletResponse]:
        self.batches.append([transfer_id for transfer_id, _ in transfers])
        return await super().void(transfers, reason)


@pytest.fixture
def wallet(path: MoneyPath) -> Recording:
    return Recording(path.wallet("transaction-reversal"))


async def accepted(path: MoneyPath, count: int = 1) -> list[Transfer]:
    """PENDING transfers, in the order of acceptance."""
    [(alice, _), (_, bob_wallet)] = await path.users([1000, 0])
    results = await accept(path.intake(), *(request(alice, bob_wallet, 1) for _ in range(count)))
    transfers = [result.transfer for result in results if isinstance(result, Accepted)]
    assert count == len(transfers)
    return transfers


async def expire(database: TestDatabase, *transfers: Transfer, seconds: float = 1.0) -> None:
    """Set the expiry of transfers into the past."""
    owner = await asyncpg.connect(database.superuser_url)
    await owner.execute(
        "UPDATE transfers SET expires_at = clock_timestamp() - make_interval(secs => $2) WHERE id = ANY($1::uuid[])",
        [transfer.id for transfer in transfers],
        seconds,
    )
    await owner.close()


async def forge(path: MoneyPath, transfer: Transfer) -> None:
    """Make the wallet know the id with another request."""
    forged = ledgers.posting(transfer.from_wallet_id, transfer.to_wallet_id, 99, transfer_id=transfer.id)
    assert ["posted"] == await ledgers.post(path.wallet_pool, forged)


async def test_conflicted_transfer_is_voided_once(
    path: MoneyPath, wallet: Recording, transaction_database: TestDatabase
) -> None:
    """Guarantee 10: the reversal that meets a conflict marks it; later passes ignore it and go on with the others."""
    clash, other = await accepted(path, 2)
    await forge(path, clash)
    await expire(transaction_database, clash)
    counted = metrics.CONFLICTED._value.get()

    moved = [await reversal.sweep(path.pool, wallet) for _ in range(3)]
    await expire(transaction_database, other)
    moved.append(await reversal.sweep(path.pool, wallet))

    assert [0, 0, 0, 1] == moved
    assert [[clash.id], [other.id]] == wallet.batches
    assert [] == await commands.list_stale(path.pool, 10)
    assert 1 == metrics.CONFLICTED._value.get() - counted
    row = await path.pool.fetchrow("SELECT status, conflicted_at IS NOT NULL FROM transfers WHERE id = $1", clash.id)
    assert row is not None
    assert ("PENDING", True) == tuple(row)


async def test_conflict_is_marked_once(path: MoneyPath) -> None:
    """Marked again, together with one that is new: the first keeps its time, and each counts once."""
    first, second = await accepted(path, 2)
    counted = metrics.CONFLICTED._value.get()
    times = []
    for ids in ([first.id], [first.id], [first.id, second.id, new_id()]):
        await commands.mark_conflicted(path.pool, ids)
        times.append(await path.pool.fetchval("SELECT conflicted_at FROM transfers WHERE id = $1", first.id))

    assert 1 == len(set(times))
    assert 2 == metrics.CONFLICTED._value.get() - counted


async def test_oldest_expiry_comes_first(
    path: MoneyPath, wallet: Recording, transaction_database: TestDatabase
) -> None:
    """In the order of the expiry, whatever the order of the acceptance."""
    transfers = await accepted(path, 4)
    for transfer, seconds in zip(transfers, (10, 40, 20, 30), strict=True):
        await expire(transaction_database, transfer, seconds=seconds)

    # Without an index that has this order.
    scanning = await transaction_database.pool(enable_indexscan="off", enable_bitmapscan="off")
    oldest = await commands.list_stale(scanning, 2)
    await close_pool(scanning)
    moved = await reversal.sweep(path.pool, wallet)

    in_order = [transfers[index] for index in (1, 3, 2, 0)]
    assert [(transfer.id, transfer.request_hash) for transfer in in_order[:2]] == oldest
    assert (4, [[transfer.id for transfer in in_order]]) == (moved, wallet.batches)


async def test_one_pass_ends_all_expired_transfers(
    path: MoneyPath, wallet: Recording, transaction_database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than fits into a batch: the pass continues until nothing is left, and returns how many changed altogether."""
    monkeypatch.setattr(reversal, "BATCH_MAX", 3)
    transfers = await accepted(path, 8)
    await expire(transaction_database, *transfers[:7])

    moved = await reversal.sweep(path.pool, wallet)

    assert 7 == moved
    assert [3, 3, 1] == [len(batch) for batch in wallet.batches]
    assert {"PENDING": 1, "FAILED": 7} == Counter(
        row["status"] for row in await path.pool.fetch("SELECT status FROM transfers")
    )


async def test_time_of_an_outcome_is_the_ledgers(
    path: MoneyPath, wallet: Recording, transaction_database: TestDatabase
) -> None:
    """Completed or failed when the ledger decided, however much later the outcome is recorded."""
    done, failed = await accepted(path, 2)
    posted = ledgers.posting(done.from_wallet_id, done.to_wallet_id, 1, transfer_id=done.id)
    assert ["posted"] == await ledgers.post(path.wallet_pool, posted._replace(request_hash=done.request_hash))
    await reversal.void_transfers(path.pool, wallet, [(failed.id, failed.request_hash)], TIMED_OUT)
    await expire(transaction_database, done)

    assert 1 == await reversal.sweep(path.pool, wallet)

    outcomes = await path.wallet_pool.fetch("SELECT transfer_id, at FROM outcomes")
    decided = {row["transfer_id"]: row["at"] for row in outcomes}
    rows = await commands.find_transfers(path.pool, [done.id, failed.id])
    assert ("COMPLETED", decided[done.id], None) == (
        rows[done.id].status, rows[done.id].completed_at, rows[done.id].failed_at,
    )  # fmt: skip
    assert ("FAILED", None, decided[failed.id], TIMED_OUT) == (
        rows[failed.id].status, rows[failed.id].completed_at, rows[failed.id].failed_at, rows[failed.id].failure_code,
    )  # fmt: skip


async def test_role_continues_after_the_wallet_was_unavailable(
    path: MoneyPath, wallet: Recording, transaction_database: TestDatabase
) -> None:
    """While the wallet is unavailable nothing is decided or reported; afterwards expired transfers end, and are reported."""
    [transfer] = await accepted(path)
    await expire(transaction_database, transfer)
    runtime = Runtime(service="transaction", role="reversal", instance="transaction-reversal-7")
    url, wallet._upstream._base_url = wallet._upstream._base_url, "http://127.0.0.1:9"
    role = asyncio.create_task(reversal.run(path.pool, wallet, runtime, every_seconds=0.01))
    async with asyncio.timeout(60):
        while len(wallet.batches) < 3:
            await asyncio.sleep(0.01)
        unavailable = await commands_heartbeats.measure(path.pool)
        wallet._upstream._base_url = url
        await path.finalized([transfer.id])
        while "transaction-reversal" not in (heartbeats := (await commands_heartbeats.measure(path.pool))[1]):
            await asyncio.sleep(0.01)
    runtime.stopping.set()
    await role

    assert (1, {}) == (unavailable[0]["stale"], unavailable[1])
    assert ["reversal"] == [state["role"] for state in heartbeats.values()]


async def test_role_ends_after_its_time(path: MoneyPath, wallet: Recording, transaction_database: TestDatabase) -> None:
    """With a limit the role ends by itself, and what had expired until then is final."""
    first, second = await accepted(path, 2)
    await expire(transaction_database, first)
    runtime = Runtime(service="transaction", role="reversal", instance="transaction-reversal-7")
    role = asyncio.create_task(reversal.run(path.pool, wallet, runtime, every_seconds=60.0, seconds_max=0.5))
    async with asyncio.timeout(60):
        await path.finalized([first.id])
        await expire(transaction_database, second)
        await role

    assert not runtime.stopping.is_set()
    assert [first.id, second.id] == list(await path.finalized([first.id, second.id]))
    assert [[first.id], [second.id]] == wallet.batches


async def test_old_heartbeats_are_deleted(path: MoneyPath, transaction_database: TestDatabase) -> None:
    """Those of workers and relays that have been silent for a day: in a cluster each has its own name. Jobs keep theirs."""
    roles = {"worker-a": "worker", "worker-b": "worker", "relay-a": "relay", reversal.HEARTBEAT: reversal.JOB}
    for name, role in roles.items():
        await commands_heartbeats.record_heartbeat(path.pool, name, {"role": role})
    owner = await asyncpg.connect(transaction_database.superuser_url)
    await owner.execute("UPDATE heartbeats SET at = at - interval '25 hours' WHERE name <> 'worker-b'")
    await owner.close()

    await commands_heartbeats.delete_old_heartbeats(path.pool, monitor.HEARTBEAT_KEPT_SECONDS)

    assert {"worker-b", reversal.HEARTBEAT} == set(await commands_heartbeats.list_heartbeats(path.pool))


async def test_expiry_is_counted_from_acceptance(path: MoneyPath) -> None:
    """Neither earlier nor later, and by the clock of the database."""
    path.reversal_after = timedelta(seconds=37)

    [transfer] = await accepted(path)

    row = await path.pool.fetchrow("SELECT expires_at - created_at AS life, created_at FROM transfers")
    assert row is not None
    assert (timedelta(seconds=37), transfer.created_at) == tuple(row)
    assert transfer.expires_at - transfer.created_at == timedelta(seconds=37)
