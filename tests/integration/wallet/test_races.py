"""Many callers and the same few accounts and ids: the first outcome counts, and every caller gets it."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from operator import itemgetter
from uuid import UUID

import asyncpg
import pytest

from services.chassis.database import Connection, LockTimeout, Pool, close_pool
from services.contracts.identifiers import new_id
from services.wallet import commands, ledger, store
from services.wallet.app import PLANNER
from services.wallet.commands import Void
from services.wallet.ledger import Posting, Result
from tests.harness import drills
from tests.harness.databases import TestDatabase
from tests.harness.ledgers import balance, fund, post, posting, random_posting

CONNECTIONS = 12
WINDOW = 60
POST_SECONDS = 4.0
"""The deadline of one call; items not done by then get the result `retry`."""

HANG_SECONDS = 60.0
"""A call that takes longer than all its time limits together hangs."""

PATIENCE = {"lock_timeout": "60s", "statement_timeout": "60s", "idle_in_transaction_session_timeout": "60s"}
"""For tests that order the steps themselves: on a busy machine a step may take longer than the timeouts of a service."""

Call = Callable[[], Awaitable[list[Result]]]


async def open_all(url: str, **settings: str) -> Pool:
    """A pool whose connections are all open and stay open, so that no caller waits for one."""
    return await asyncpg.create_pool(
        url,
        min_size=CONNECTIONS,
        max_size=CONNECTIONS,
        max_inactive_connection_lifetime=0,
        server_settings={"application_name": "races", **PLANNER, **settings},
    )


@pytest.fixture
async def twelve(wallet_database: TestDatabase, pool: Pool) -> AsyncIterator[Pool]:
    """Twelve connections. Afterwards PostgreSQL must not have detected any deadlock in this database."""
    opened = await open_all(wallet_database.service_url)
    yield opened
    await close_pool(opened)
    inspector = await asyncpg.connect(wallet_database.superuser_url)
    async with asyncio.timeout(30):  # a connection reports its deadlocks when it ends
        while await inspector.fetchval("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'races'"):
            await asyncio.sleep(0.01)
    deadlocks = await inspector.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    await inspector.close()
    assert 0 == deadlocks


@pytest.fixture
async def patient(wallet_database: TestDatabase, pool: Pool) -> AsyncIterator[Pool]:
    """Connections without time limits."""
    opened = await open_all(wallet_database.service_url, **PATIENCE)
    yield opened
    await close_pool(opened)


class Hammer:
    """Every id posted three times and voided twice, in batches cut at random, by twelve callers at once.

    Like a worker, a caller sends its batch again after `retry` or a lock timeout.
    """

    def __init__(self, pool: Pool, items: Sequence[Posting], seed: int) -> None:
        self.pool = pool
        self.items = items
        self.rng = random.Random(seed)
        self.returned: dict[UUID, list[Result]] = defaultdict(list)
        self.slowest = 0.0
        self.retries = 0

    async def run(self) -> None:
        calls = iter(self._calls())
        await asyncio.gather(*(self._work(calls) for _ in range(CONNECTIONS)))

    def _calls(self) -> list[Call]:
        """Window by window, so that the calls for one id are nearly concurrent."""
        calls: list[Call] = []
        for start in range(0, len(self.items), WINDOW):
            window = self.items[start : start + WINDOW]
            near = [(self.rng.random(), self._posting(batch)) for batch in self._cut([*window] * 3, 24)]
            # Delayed, or nearly all would be voided: a void waits for no account.
            near += [(self.rng.uniform(0.5, 1.5), self._voiding(batch)) for batch in self._cut([*window] * 2, 12)]
            calls += [call for _, call in sorted(near, key=itemgetter(0))]
        return calls

    def _cut(self, items: list[Posting], size_max: int) -> list[list[Posting]]:
        self.rng.shuffle(items)
        batches = []
        while items:
            size = self.rng.randint(1, size_max)
            batches.append(items[:size])
            items = items[size:]
        return batches

    def _posting(self, batch: list[Posting]) -> Call:
        async def ask() -> list[Result]:
            returned: list[Result] = []
            left = batch
            while left:
                results = await commands.post_transfers(self.pool, left, deadline=time.monotonic() + POST_SECONDS)
                left = [item for item, result in zip(left, results, strict=True) if result.outcome == ledger.RETRY]
                returned += [result for result in results if result.outcome != ledger.RETRY]
                self.retries += len(left)
            return returned

        return ask

    def _voiding(self, batch: list[Posting]) -> Call:
        reasons = [self.rng.choice(["timed_out", "cancelled"]) for _ in batch]
        voids = [Void(item.transfer_id, why, item.request_hash) for item, why in zip(batch, reasons, strict=True)]

        async def ask() -> list[Result]:
            while True:
                try:
                    return await commands.void_transfers(self.pool, voids)
                except LockTimeout:
                    self.retries += len(voids)

        return ask

    async def _work(self, calls: Iterator[Call]) -> None:
        for call in calls:
            began = time.monotonic()
            async with asyncio.timeout(HANG_SECONDS):
                results = await call()
            for result in results:
                self.returned[result.transfer_id].append(result)
            self.slowest = max(self.slowest, time.monotonic() - began)


async def set_frozen(pool: Pool, wallet: UUID, *, frozen: bool) -> None:
    """Freeze or unfreeze, also under contention."""
    while True:
        with suppress(LockTimeout):
            await commands.set_frozen(pool, wallet, frozen=frozen, operator_id=new_id(), request_id="race")
            return


async def freeze_and_unfreeze(pool: Pool, wallets: Sequence[UUID], done: asyncio.Event) -> int:
    """Freeze one wallet after the other for a moment, during which it gets no entry; how many were frozen."""
    rng = random.Random(3)
    rounds = 0
    while not done.is_set():
        wallet = rng.choice(wallets)
        await set_frozen(pool, wallet, frozen=True)
        before = await pool.fetchval("SELECT seq FROM accounts WHERE id = $1", wallet)
        await asyncio.sleep(0.02)
        after = await pool.fetchval("SELECT seq FROM accounts WHERE id = $1", wallet)
        await set_frozen(pool, wallet, frozen=False)
        assert before == after, "a frozen wallet takes neither debit nor credit"
        rounds += 1
    return rounds


@pytest.mark.timeout(drills.bound(600, 1800))
@pytest.mark.parametrize("seed", range(drills.bound(1, 20)))
async def test_one_outcome_when_post_and_void_race(pool: Pool, twelve: Pool, seed: int) -> None:
    """Guarantee 2: 3,000 ids posted thrice and voided twice concurrently: one outcome each, for all callers, entries if posted.

    Beside it wallets are frozen and opened again. PostgreSQL meets no deadlock, and no call hangs.
    """
    rng = random.Random(seed)
    wallets = await fund(pool, [40] * 8)
    items = [random_posting(rng, wallets, 30) for _ in range(3000)]
    hammer = Hammer(twelve, items, seed)
    done = asyncio.Event()
    freezing = asyncio.create_task(freeze_and_unfreeze(pool, wallets, done))

    try:
        await hammer.run()
    finally:
        done.set()
    frozen = await freezing

    rows = await pool.fetch("SELECT transfer_id, outcome, reason, at FROM outcomes")
    outcomes = {row["transfer_id"]: Result(*row) for row in rows}
    lines = Counter(row["transfer_id"] for row in await pool.fetch("SELECT transfer_id FROM entries"))
    expected = dict.fromkeys(wallets, 40)
    for item in items:
        recorded = outcomes[item.transfer_id]
        assert [recorded] * 5 == hammer.returned[item.transfer_id]
        assert (2 if recorded.outcome == "posted" else 0) == lines[item.transfer_id]
        if recorded.outcome == "posted":
            expected[item.source_id] -= item.amount
            expected[item.destination_id] += item.amount
    assert expected == {wallet: await balance(pool, wallet) for wallet in wallets}
    kinds = Counter(outcomes[item.transfer_id].reason or "posted" for item in items)
    assert {"posted", "timed_out", "cancelled", "insufficient_funds", "wallet_frozen"} == kinds.keys()
    assert frozen > 0
    print(f"{dict(kinds)}, {frozen} times frozen, {hammer.retries} sent again, slowest call {hammer.slowest:.2f} s")


async def until_another_session_waits_for(connection: Connection) -> None:
    """Wait until another session waits for this connection to end its transaction."""
    async with asyncio.timeout(30):
        while not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))"
        ):
            await asyncio.sleep(0.002)


async def start_void(connection: Connection, *items: Posting) -> asyncpg.transaction.Transaction:
    """Void these in a transaction that stays open."""
    transaction = connection.transaction()
    await transaction.start()
    ordered = sorted(items, key=lambda item: item.transfer_id)
    ids, hashes = [item.transfer_id for item in ordered], [item.request_hash for item in ordered]
    await store.insert_voids(connection, ids, ["timed_out"] * len(ids), hashes)
    return transaction


async def test_a_concurrent_void_rejects_its_dependants(patient: Pool) -> None:
    """Guarantee 3b: a void commits between read and insert; the transfer that depends on that money is rejected."""
    alice, bob, carol = await fund(patient, [100, 0, 0])
    first, second = posting(alice, bob, 100), posting(bob, carol, 100)

    async with patient.acquire() as intruder:
        void = await start_void(intruder, first)
        batch = asyncio.create_task(post(patient, first, second))
        await until_another_session_waits_for(intruder)
        await void.commit()
    results = await batch

    assert ["voided:timed_out", "rejected:insufficient_funds"] == results
    assert [100, 0, 0] == [await balance(patient, wallet) for wallet in (alice, bob, carol)]


async def test_repeated_concurrent_voids(patient: Pool) -> None:
    """Guarantee 3b: each void that commits after the read makes the batch decide again, as often as necessary."""
    wallets = await fund(patient, [100, 0, 0, 0])
    chain = [posting(source, destination, 100) for source, destination in pairwise(wallets)]

    async with patient.acquire() as one, patient.acquire() as other:
        first, second = await start_void(one, chain[0]), await start_void(other, chain[1])
        batch = asyncio.create_task(post(patient, *chain))
        await until_another_session_waits_for(one)
        await first.commit()
        await until_another_session_waits_for(other)
        await second.commit()
    results = await batch

    assert ["voided:timed_out", "voided:timed_out", "rejected:insufficient_funds"] == results
    assert [100, 0, 0, 0] == [await balance(patient, wallet) for wallet in wallets]


async def test_a_rolled_back_void_changes_nothing(patient: Pool) -> None:
    """Guarantee 3b: a void that is rolled back while the batch waits for it does not change the decision."""
    alice, bob, carol = await fund(patient, [100, 0, 0])
    first, second = posting(alice, bob, 100), posting(bob, carol, 100)

    async with patient.acquire() as intruder:
        void = await start_void(intruder, first)
        batch = asyncio.create_task(post(patient, first, second))
        await until_another_session_waits_for(intruder)
        await void.rollback()
    results = await batch

    assert ["posted", "posted"] == results
    assert [0, 0, 100] == [await balance(patient, wallet) for wallet in (alice, bob, carol)]


async def test_a_void_reads_what_was_decided_while_it_waited(patient: Pool) -> None:
    """Guarantee 2: a void that waited for the commit of a batch returns the outcome of that batch."""
    alice, bob = await fund(patient, [100, 0])
    item = posting(alice, bob, 10)

    async with patient.acquire() as holder:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute(
            "INSERT INTO outcomes (transfer_id, outcome, reason, request_hash, at) VALUES ($1, 'rejected', 'drill', $2, now())",
            item.transfer_id,
            item.request_hash,
        )
        voiding = asyncio.create_task(
            commands.void_transfers(patient, [Void(item.transfer_id, "cancelled", item.request_hash)])
        )
        await until_another_session_waits_for(holder)
        await transaction.commit()
    [result] = await voiding

    assert ("rejected", "drill") == (result.outcome, result.reason)


async def test_two_requests_under_one_id_race(patient: Pool) -> None:
    """Guarantee 10: one id with two requests on different accounts, posted concurrently: one is posted, one is a conflict."""
    wallets = await fund(patient, [1000, 0, 1000, 0])
    pairs = []
    for _ in range(150):
        item = posting(wallets[0], wallets[1], 1)
        pairs.append((item, posting(wallets[2], wallets[3], 1, transfer_id=item.transfer_id)))

    results = [
        returned
        for item, forged in pairs
        for returned in [sorted(a for [a] in await asyncio.gather(post(patient, item), post(patient, forged)))]
    ]

    assert [["conflict", "posted"]] * len(pairs) == results
    assert len(pairs) == await balance(patient, wallets[1]) + await balance(patient, wallets[3])
