"""Past figures on PostgreSQL: balances, statements and the balance sheet at a moment are final."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from services.chassis import finality
from services.chassis.database import Pool, close_pool
from services.chassis.finality import TICK, MomentNotFinal
from services.chassis.period import Period
from services.chassis.replica import Reader
from services.contracts.identifiers import new_id
from services.contracts.refusals.wallet import WalletNotFound
from services.wallet import commands, schemas
from services.wallet.app import PLANNER
from services.wallet.commands_statement import list_statement
from services.wallet.store import Line
from tests.harness.databases import TestDatabase
from tests.harness.ledgers import fund, post, posting
from tests.harness.locks import PATIENT, until_waiting

ALWAYS = Period()


async def clock(pool: Pool) -> datetime:
    """The database's."""
    moment: datetime = await pool.fetchval("SELECT clock_timestamp()")
    return moment


async def balance_at(pool: Pool, wallet: UUID, moment: datetime) -> int:
    return (await commands.get_balance(pool, wallet, moment))[0]


async def statement(pool: Pool, wallet: UUID, period: Period = ALWAYS, *, limit: int = 200) -> list[Line]:
    """A whole statement, read page by page like the api."""
    found: list[Line] = []
    below: int | None = None
    while True:
        lines = await list_statement(Reader(pool), wallet, below=below, period=period, limit=limit + 1)
        found += lines[:limit]
        if len(lines) <= limit:
            return found
        below = schemas.decode_cursor(schemas.encode_cursor(found[-1].seq))


@pytest.fixture
async def patient(wallet_database: TestDatabase, pool: Pool) -> AsyncIterator[Pool]:
    """A pool as the service opens it, without time limits."""
    opened = await wallet_database.pool(**PLANNER, **PATIENT, statement_timeout="60s")
    yield opened
    await close_pool(opened)


@asynccontextmanager
async def held_up(pool: Pool, database: TestDatabase, source: UUID, destination: UUID) -> AsyncIterator[None]:
    """A posting of 100 that has dated its entries and commits only at the end of this context."""
    one = posting(source, destination, 100)
    owner = await asyncpg.connect(database.owner_url)
    try:
        hold = owner.transaction()
        await hold.start()
        await owner.execute(
            "INSERT INTO outcomes (transfer_id, outcome, reason, request_hash, at) VALUES ($1, 'voided', 'held', 'x', now())",
            one.transfer_id,
        )
        posted = asyncio.create_task(post(pool, one))
        await until_waiting(pool, 1, seconds=60)
        yield
        await hold.rollback()
        assert ["posted"] == await posted
    finally:
        await owner.close()


async def test_a_read_waits_for_open_postings_of_its_moment(patient: Pool, wallet_database: TestDatabase) -> None:
    """Guarantee 59c: a balance at a moment is not returned before an open posting of that moment has ended."""
    source, destination = await fund(patient, [1000, 0])
    before = await clock(patient)
    async with held_up(patient, wallet_database, source, destination):
        moment = await clock(patient)
        early = await balance_at(patient, source, before)
        reading = asyncio.create_task(balance_at(patient, source, moment))
        ended = asyncio.create_task(statement(patient, source, Period(None, moment)))
        await asyncio.wait([reading, ended], timeout=0.1)
        assert not reading.done()
        assert not ended.done()

    assert 1000 == early
    assert 900 == await reading == await balance_at(patient, source, moment)
    assert [-100, 1000] == [line.amount for line in await ended]


@pytest.mark.parametrize("read", ["balance", "balance now", "statement", "statement ahead", "sheet"])
async def test_a_moment_that_stays_open_is_refused(
    patient: Pool, wallet_database: TestDatabase, monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    """If the commit takes longer than a reader waits, the moment is refused, with the time before which all is final."""
    source, destination = await fund(patient, [1000, 0])
    proof_pool = await wallet_database.pool(wallet_database.proof_url)
    monkeypatch.setattr(finality, "WAIT_SECONDS", 0.3)
    before = await clock(patient)
    async with held_up(patient, wallet_database, source, destination):
        moment = await clock(patient)
        reads: dict[str, Callable[[], Awaitable[object]]] = {
            "balance": lambda: balance_at(patient, source, moment),
            "balance now": lambda: balance_at(patient, source, moment + timedelta(days=1)),
            "statement": lambda: statement(patient, source, Period(None, moment)),
            "statement ahead": lambda: statement(patient, source, Period(None, moment + timedelta(seconds=0.3))),
            "sheet": lambda: commands.read_balance_sheet(patient, proof_pool),
        }
        with pytest.raises(MomentNotFinal) as refused:
            await reads[read]()
        final_before = datetime.fromisoformat(refused.value.extra["final_before"])
        assert 1000 == await balance_at(patient, source, final_before - TICK)
        live = (
            await statement(patient, source),
            await statement(patient, source, Period(None, moment + timedelta(days=1))),
        )

    assert before < final_before < moment
    assert {"Retry-After": "1"} == refused.value.headers
    assert [[1000], [1000]] == [[line.amount for line in lines] for lines in live]
    await close_pool(proof_pool)


async def test_a_read_of_now_does_not_wait(patient: Pool, wallet_database: TestDatabase) -> None:
    """The current balance is a plain read: it is returned while a commit is delayed."""
    source, destination = await fund(patient, [1000, 0])
    async with held_up(patient, wallet_database, source, destination):
        assert 1000 == (await commands.get_balance(patient, source, None))[0]


async def test_an_untracked_session_makes_nothing_final(
    pool: Pool, wallet_database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the server does not report when transactions began, a moment is refused."""
    [wallet] = await fund(pool, [1000])
    monkeypatch.setattr(finality, "WAIT_SECONDS", 0.0)
    superuser = await asyncpg.connect(wallet_database.superuser_url)
    name = wallet_database.name
    await superuser.execute(f'ALTER ROLE payflow_wallet IN DATABASE "{name}" SET track_activities = off')
    untracked = await asyncpg.connect(wallet_database.service_url)
    with pytest.raises(MomentNotFinal):
        await balance_at(pool, wallet, await clock(pool))
    await untracked.close()
    await superuser.close()


async def test_past_figures_do_not_change(pool: Pool, wallet_database: TestDatabase) -> None:
    """Guarantee 59c: past balances, statements and the balance sheet, read during postings, never change."""
    wallets = await fund(pool, [10_000] * 4)
    chance = random.Random(6)
    done = asyncio.Event()

    async def pay() -> None:
        for _ in range(40):
            source, destination = chance.sample(wallets, 2)
            await post(pool, *(posting(source, destination, 1) for _ in range(chance.randrange(1, 4))))

    async def read() -> list[tuple[UUID, datetime, int, int]]:
        found = []
        while not done.is_set():
            wallet = chance.choice(wallets)
            moment = await clock(pool) - timedelta(milliseconds=chance.choice([0, 0, 1, 5, 20]))
            lines = await statement(pool, wallet, Period(None, moment + TICK))
            found.append((wallet, moment, await balance_at(pool, wallet, moment), len(lines)))
        return found

    readers = [asyncio.create_task(read()) for _ in range(3)]
    await asyncio.gather(*(pay() for _ in range(6)))
    done.set()
    found = [one for reader in readers for one in await reader]

    assert len(found) >= 10
    for wallet, moment, figure, lines in found:
        assert figure == await balance_at(pool, wallet, moment)
        assert lines == len(await statement(pool, wallet, Period(None, moment + TICK)))


async def test_the_balance_at_a_moment(pool: Pool) -> None:
    """Before the first entry 0; at the moment of an entry, after it; between two, after the earlier; with nothing held."""
    [source, destination] = await fund(pool, [1000, 0])
    opened = await clock(pool)
    for amount in (1, 20, 300):
        assert ["posted"] == await post(pool, posting(source, destination, amount))
    times = [line.created_at for line in reversed(await statement(pool, destination))]

    assert [1, 21, 321] == [await balance_at(pool, destination, at) for at in times]
    assert [0, 1, 21] == [await balance_at(pool, destination, at - TICK) for at in times]
    assert [0, 0] == [await balance_at(pool, destination, at) for at in (opened, opened - timedelta(days=1))]
    assert (321, 0, times[-1]) == await commands.get_balance(pool, destination, times[-1])
    with pytest.raises(WalletNotFound):
        await commands.get_balance(pool, new_id(), opened)


async def test_a_moment_ahead_is_now(pool: Pool) -> None:
    """With `at` in the future, the final balance of now is returned, with that time in `as_of`."""
    [wallet] = await fund(pool, [1000])
    earliest = await clock(pool)
    balance, _, as_of = await commands.get_balance(pool, wallet, datetime.max.replace(tzinfo=earliest.tzinfo))

    assert 1000 == balance
    assert earliest - TICK <= as_of < await clock(pool)


async def test_the_balance_sheet_is_of_its_moment(
    pool: Pool, wallet_database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its figures are those at `as_of`: a later entry does not count, one at that moment does."""
    source, other = await fund(pool, [1000, 0])
    await fund(pool, [5], currency="JPY")
    proof_pool = await wallet_database.pool(wallet_database.proof_url)
    earliest = await clock(pool)
    moment, rows = await commands.read_balance_sheet(pool, proof_pool)
    assert earliest - TICK <= moment < await clock(pool)
    assert [("JPY", 5, -5, 0), ("USD", 1000, -1000, 0)] == [tuple(row) for row in rows]

    await fund(pool, [70])
    await post(pool, posting(source, other, 1))
    last = (await statement(pool, other))[0].created_at
    for at, customers in ((moment, 1000), (last - TICK, 1070), (last, 1070)):
        monkeypatch.setattr(finality, "wait_for_moment", lambda _pool, _moment, at=at: asyncio.sleep(0, at))
        assert (at, customers) == ((sheet := await commands.read_balance_sheet(pool, proof_pool))[0], sheet[1][1][1])
    await close_pool(proof_pool)


async def test_a_statement_of_a_period(pool: Pool) -> None:
    """Only the entries of the wallet, newest first, with the counterparty, its owner, and the balance after each."""
    [alice, bob] = await fund(pool, [1000, 0])
    owners = {row["id"]: row["owner_id"] for row in await pool.fetch("SELECT id, owner_id FROM accounts")}
    one = posting(alice, bob, 1)._replace(description="one")
    two = posting(bob, alice, 1)._replace(description="two")
    three = posting(alice, bob, 30)._replace(description="three")
    for each in (one, two, three):
        assert ["posted"] == await post(pool, each)

    lines = await statement(pool, bob)
    assert [
        (3, three.transfer_id, 30, 30, "three", alice, owners[alice]),
        (2, two.transfer_id, -1, 0, "two", alice, owners[alice]),
        (1, one.transfer_id, 1, 1, "one", alice, owners[alice]),
    ] == [line[:4] + line[5:] for line in lines]
    funded = (await statement(pool, alice))[-1]
    assert (1, 1000, None) == (funded.seq, funded.amount, funded.counterparty_owner_id)
    third, second, first = (line.created_at for line in lines)
    periods = {
        (None, first): [], (first, second): [1], (first, third): [2, 1], (second, None): [3, 2], (third, third + TICK): [3],
        (third + TICK, None): [], (None, third + TICK): [3, 2, 1], (first + TICK, third): [2],
    }  # fmt: skip
    for period, seqs in periods.items():
        assert seqs == [line.seq for line in await statement(pool, bob, Period(*period))], period
    assert [] == await statement(pool, new_id())


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 7, 200])
async def test_pages_of_a_period_contain_each_entry_once(pool: Pool, limit: int) -> None:
    """Whatever the page size, all pages together contain the period, and the last has no next page."""
    [alice, bob] = await fund(pool, [1000, 0])
    for _ in range(5):
        await post(pool, posting(alice, bob, 1), posting(alice, bob, 1))
    times = sorted({line.created_at for line in await statement(pool, bob)})
    period = Period(times[1], times[4])
    seen: list[int] = []
    below: int | None = None
    pages = 0
    while True:
        lines = await list_statement(Reader(pool), bob, below=below, period=period, limit=limit + 1)
        page = schemas.statement(lines, limit)
        seen += [item["seq"] for item in page["items"]]
        pages += 1
        assert len(page["items"]) <= limit
        if page["next_cursor"] is None:
            break
        below = schemas.decode_cursor(page["next_cursor"])

    assert [8, 7, 6, 5, 4, 3] == seen
    assert -(-6 // limit) == pages


async def test_a_thousand_entries_paged_while_two_hundred_arrive(pool: Pool) -> None:
    """Guarantee 59: of 1,000 entries paged while 200 more are posted none is skipped or repeated, newest first."""
    [alice, bob] = await fund(pool, [10_000, 0])
    for _ in range(10):
        await post(pool, *(posting(alice, bob, 1) for _ in range(100)))
    old = [line.seq for line in await statement(pool, bob)]
    below: int | None = None
    seen: list[int] = []
    arrived = 0
    while True:
        lines = await list_statement(Reader(pool), bob, below=below, period=ALWAYS, limit=38)
        seen += [line.seq for line in lines[:37]]
        if arrived < 200:
            await post(pool, *(posting(alice, bob, 1) for _ in range(20)))
            arrived += 20
        if len(lines) <= 37:
            break
        below = schemas.decode_cursor(schemas.encode_cursor(seen[-1]))

    assert list(range(1000, 0, -1)) == old == seen
    assert list(range(1200, 0, -1)) == [line.seq for line in await statement(pool, bob)]
