"""The wallet's commands on PostgreSQL, driven through whole histories, against the naive model.

Hypothesis is synchronous, so the test is too: it drives a loop and a pool of its own, in its own thread, while the
session's loop rests between two tests. Nothing is handed from one thread to another, and a failure is an ordinary
traceback.
"""

from __future__ import annotations

import asyncio
import itertools
import string
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from services.chassis import database
from services.chassis.database import Pool, close_pool
from services.contracts.identifiers import new_id
from services.wallet import commands, ledger, store
from services.wallet.app import PLANNER
from services.wallet.commands import Void
from services.wallet.ledger import Posting
from services.wallet.proof import prove
from tests.harness import drills
from tests.harness.databases import TestDatabase
from tests.simulation import ledger_machine
from tests.simulation.ledger_machine import Books
from tests.simulation.naive_ledger import Line, Outcome, Request, Result, Transfer

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = {
    "posted",
    "conflict",
    "timed_out",
    "cancelled",
    "wallet_not_found",
    "currency_mismatch",
    "wallet_frozen",
    "insufficient_funds",
    "balance_limit",
}

# The server's clock in the test's hand: a schema that is searched before pg_catalog has functions of the same names.
CLOCK = """
    CREATE SCHEMA drill;
    CREATE TABLE drill.clock (shows timestamptz NOT NULL);
    INSERT INTO drill.clock VALUES ('2026-01-01T00:00:00Z');
    CREATE FUNCTION drill.statement_timestamp() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT shows FROM drill.clock';
    CREATE FUNCTION drill.clock_timestamp() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT shows FROM drill.clock';
    GRANT USAGE ON SCHEMA drill TO PUBLIC;
    GRANT SELECT, UPDATE ON drill.clock TO PUBLIC;
"""
SEARCH_PATH = {"search_path": "drill, pg_catalog, public"}
PATIENCE = {"lock_timeout": "60s", "statement_timeout": "60s", "idle_in_transaction_session_timeout": "60s"}


class Real:
    """Shared by the histories of one test: a loop, a database, and the unused currencies."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: Pool) -> None:
        self.loop = loop
        self.pool = pool
        # Each history has its own currencies and external accounts: it starts from an empty ledger in a used database.
        self.currencies = map("".join, itertools.product(string.ascii_uppercase, repeat=3))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)


class OnPostgres:
    """The commands of the wallet service, called by names."""

    def __init__(self, real: Real) -> None:
        self.real = real
        self.pool = real.pool
        self.currencies: dict[str, str] = {}
        self.ids: dict[str, UUID] = {}
        self.names: dict[UUID, str] = {}
        self.requests: dict[bytes, Request] = {}

    def open(self, wallets: dict[str, str], external: dict[str, str]) -> None:
        self.currencies = {code: next(self.real.currencies) for code in external.values()}
        for name, code in wallets.items():
            opened = commands.open_wallet(self.pool, owner_id=new_id(), currency=self.currencies[code])
            self._remember(name, self.real.run(opened)[0].id)
        for name, code in external.items():
            found = commands.find_accounts(self.pool, ids=[], owners=[], external=[self.currencies[code]])
            self._remember(name, self.real.run(found)[0][0])

    def set_clock(self, seconds: int) -> None:
        shows = EPOCH + timedelta(seconds=seconds)
        self.real.run(self.pool.execute("UPDATE drill.clock SET shows = $1", shows))

    def post(self, batch: Sequence[Transfer]) -> list[Result]:
        return self.real.run(self._post(batch))

    def void(self, voids: Sequence[tuple[str, Request]], reason: str) -> list[Result]:
        requested = [Void(self._id(name), reason, self._hash(request)) for name, request in voids]
        return self._results(self.real.run(commands.void_transfers(self.pool, requested)))

    def post_with_concurrent_voids(
        self, batch: Sequence[Transfer], voids: Sequence[tuple[str, Request]], reason: str
    ) -> list[Result]:
        return self.real.run(self._post_outrun(batch, voids, reason))

    def set_frozen(self, wallet: str, *, frozen: bool) -> None:
        action = commands.set_frozen(
            self.pool, self._id(wallet), frozen=frozen, operator_id=self._id("operator"), request_id="test"
        )
        self.real.run(action)

    def books(self) -> Books:
        return self.real.run(self._books())

    async def _post(self, batch: Sequence[Transfer]) -> list[Result]:
        postings = [
            Posting(
                self._id(id_),
                self._id(request.source),
                self._id(request.destination),
                request.amount,
                self.currencies[request.currency],
                EPOCH + timedelta(seconds=expires),
                None,
                self._hash(request),
            )
            for id_, request, expires in batch
        ]
        return self._results(await commands.post_transfers(self.pool, postings, deadline=float("inf")))

    async def _post_outrun(
        self, batch: Sequence[Transfer], voids: Sequence[tuple[str, Request]], reason: str
    ) -> list[Result]:
        """The voids are inserted and not committed: the batch does not see them, decides, and waits at its insert."""
        ordered = sorted((self._id(name), reason, self._hash(request)) for name, request in dict(voids).items())
        async with self.pool.acquire() as intruder:
            transaction = intruder.transaction()
            await transaction.start()
            before = await intruder.fetchval("SELECT count(*) FROM outcomes")
            await store.insert_voids(intruder, *(list(column) for column in zip(*ordered, strict=True)))
            slipped_in = await intruder.fetchval("SELECT count(*) FROM outcomes") > before
            posting = asyncio.create_task(self._post(batch))
            while slipped_in and not posting.done() and not await self._has_waiter(intruder):
                await asyncio.sleep(0)
            await transaction.commit()
        return await posting

    @staticmethod
    async def _has_waiter(intruder: database.Connection) -> bool:
        """Whether another session waits for this connection to end its transaction."""
        return await intruder.fetchval(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))"
        )

    async def _books(self) -> Books:
        async with database.snapshot(self.pool) as connection:
            accounts = await connection.fetch(
                "SELECT id, posted, seq, frozen FROM accounts WHERE currency = ANY($1::text[])",
                list(self.currencies.values()),
            )
            entries = await connection.fetch(
                "SELECT account_id, seq, transfer_id, currency, amount, balance_after, created_at FROM entries "
                "WHERE account_id = ANY($1::uuid[])",
                list(self.names),
            )
            outcomes = await connection.fetch(
                "SELECT transfer_id, request_hash, outcome, reason, at FROM outcomes WHERE transfer_id = ANY($1::uuid[])",
                list(self.names),
            )
        codes = {made: code for code, made in self.currencies.items()}
        return Books(
            {self.names[row["id"]]: row["posted"] for row in accounts},
            {self.names[row["id"]]: row["seq"] for row in accounts},
            {self.names[row["id"]] for row in accounts if row["frozen"]},
            [
                Line(
                    self.names[row["account_id"]],
                    row["seq"],
                    self.names[row["transfer_id"]],
                    codes[row["currency"]],
                    row["amount"],
                    row["balance_after"],
                    _seconds(row["created_at"]),
                )
                for row in entries
            ],
            {
                self.names[row["transfer_id"]]: Outcome(
                    self.names[row["transfer_id"]],
                    self.requests[row["request_hash"]],
                    row["outcome"],
                    row["reason"],
                    _seconds(row["at"]),
                )
                for row in outcomes
            },
        )

    def _id(self, name: str) -> UUID:
        if name not in self.ids:
            self._remember(name, new_id())
        return self.ids[name]

    def _remember(self, name: str, id_: UUID) -> None:
        self.ids[name] = id_
        self.names[id_] = name

    def _hash(self, request: Request) -> bytes:
        digest = sha256(repr(request).encode()).digest()
        self.requests[digest] = request
        return digest

    @staticmethod
    def _results(results: Sequence[ledger.Result]) -> list[Result]:
        return [
            Result(result.outcome, result.reason, None if result.at is None else _seconds(result.at))
            for result in results
        ]


def _seconds(at: datetime) -> int:
    return round((at - EPOCH).total_seconds())


@pytest.fixture
async def clock_database(wallet_database: TestDatabase) -> AsyncIterator[TestDatabase]:
    """A wallet's database whose clock the test sets. The whole ledger must prove right in the end."""
    superuser = await asyncpg.connect(wallet_database.superuser_url)
    await superuser.execute(CLOCK)
    await superuser.close()
    yield wallet_database
    pool = await wallet_database.pool(wallet_database.proof_url)
    proof = await prove(pool)
    await close_pool(pool)
    assert proof.ok, proof


async def _open(url: str) -> Pool:
    """One connection for the commands and one for the void that slips in. They wait as long as it takes."""
    return await asyncpg.create_pool(
        url,
        min_size=2,
        max_size=2,
        max_inactive_connection_lifetime=0,
        server_settings={**PLANNER, **SEARCH_PATH, **PATIENCE},
    )


@pytest.fixture
def real(clock_database: TestDatabase) -> Iterator[Real]:
    loop = asyncio.new_event_loop()
    pool = loop.run_until_complete(_open(clock_database.service_url))
    yield Real(loop, pool)
    loop.run_until_complete(close_pool(pool))
    loop.close()


@pytest.mark.timeout(drills.bound(600, 1800))
def test_postgres_does_what_the_naive_ledger_does(real: Real) -> None:
    """Guarantees 2, 3b, 10, 16b: step by step results, balances, lines and outcomes are those of the naive ledger."""
    began = time.monotonic()
    counts = ledger_machine.run(lambda: OnPostgres(real), examples=drills.bound(40, 2500), fixed=not drills.FULL)
    took = time.monotonic() - began

    print(f"{counts['sequences']} sequences, {counts['steps']} steps, {counts['steps'] / took:.0f} steps/s: {counts}")
    assert KINDS <= counts.keys()
    assert counts["steps"] > drills.bound(750, 1500)
