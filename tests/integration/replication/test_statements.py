"""Statements from a standby: at most as old as the stated lag, without gaps between pages, and from the primary otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from services.chassis import database, replica
from services.chassis.database import Connection, Pool, close_pool, open_pool
from services.chassis.period import Period
from services.chassis.replica import Reader
from services.wallet import commands
from services.wallet.app import PLANNER
from services.wallet.commands_statement import list_statement
from tests.harness.ledgers import fund, post, posting
from tests.harness.standby import Pair

ALWAYS = Period()
PATIENT_SECONDS = 60.0
LONG, SHORT = 60.0, 0.2
"""A lag that no test reaches, and one that is soon reached."""


@pytest.fixture
def service() -> str:
    return "wallet"


@pytest.fixture
async def standby_pool(pair: Pair) -> AsyncIterator[Pool]:
    url = pair.standby.dsn("wallet", "payflow_wallet")
    opened = await open_pool(url, name="test standby", size_max=4, server_settings=PLANNER, on=database.STANDBY)
    yield opened
    await execute(pair, "SELECT pg_wal_replay_resume()")
    await close_pool(opened)


async def execute(pair: Pair, statement: str) -> None:
    """Run a statement on the standby as a superuser."""
    connection = await asyncpg.connect(pair.standby.dsn("wallet"))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def opened(pool: Pool, standby_pool: Pool, lag: float) -> Reader:
    """A reader that uses the standby, which has replayed everything so far."""
    reader = Reader(pool, standby_pool, lag_seconds_max=lag)
    async with asyncio.timeout(PATIENT_SECONDS):
        while await server_of(reader) != "standby":
            await reader.check()
    return reader


async def server_of(reader: Reader) -> str:
    """Which server serves a read now."""

    async def read(connection: Connection) -> str:
        return "standby" if await connection.fetchval("SELECT pg_is_in_recovery()") else "primary"

    return await reader.read(read)


async def sums(reader: Reader, wallet: UUID, *, below: int | None = None, period: Period = ALWAYS) -> list[int]:
    """The seqs of a page of the statement."""
    lines = await list_statement(reader, wallet, below=below, period=period, limit=2)
    return [line.seq for line in lines]


async def test_statement_may_be_as_old_as_the_lag(pair: Pair, pool: Pool, standby_pool: Pool) -> None:
    """Within the lag the standby serves what it has; the balance now comes from the primary."""
    source, destination = await fund(pool, [100, 0])
    reader = await opened(pool, standby_pool, LONG)
    await execute(pair, "SELECT pg_wal_replay_pause()")
    await post(pool, posting(source, destination, 10))
    await reader.check()

    assert [1] == await sums(reader, source)
    assert 90 == (await commands.get_balance(pool, source, None))[0]


async def test_paused_standby_is_not_used_beyond_the_lag(pair: Pair, pool: Pool, standby_pool: Pool) -> None:
    """Once the standby is behind for longer than the lag, the primary serves the read, and the standby again when it follows."""
    source, destination = await fund(pool, [100, 0])
    reader = await opened(pool, standby_pool, SHORT)
    await execute(pair, "SELECT pg_wal_replay_pause()")
    await post(pool, posting(source, destination, 10))
    async with asyncio.timeout(PATIENT_SECONDS):
        while await server_of(reader) != "primary":
            await reader.check()
    assert [2, 1] == await sums(reader, source)
    assert replica.LAG._value.get() > 0

    await execute(pair, "SELECT pg_wal_replay_resume()")
    async with asyncio.timeout(PATIENT_SECONDS):
        while await server_of(reader) != "standby":
            await reader.check()


async def test_positions_that_are_too_old_do_not_count(pool: Pool, standby_pool: Pool) -> None:
    """Without a recent position of the primary, nothing is known about the standby: the primary serves the read."""
    reader = await opened(pool, standby_pool, SHORT)
    async with asyncio.timeout(PATIENT_SECONDS):
        while await server_of(reader) != "primary":
            await asyncio.sleep(0.02)


async def test_next_page_has_no_gap(pair: Pair, pool: Pool, standby_pool: Pool) -> None:
    """The primary serves the page after an entry that the standby does not have yet: its own page would skip some."""
    source, destination = await fund(pool, [100, 0])
    reader = await opened(pool, standby_pool, LONG)
    await execute(pair, "SELECT pg_wal_replay_pause()")
    for _ in range(4):
        await post(pool, posting(source, destination, 10))
    await reader.check()

    assert [4, 3] == await sums(reader, source, below=5)
    assert [1] == await sums(reader, source, below=2)


async def test_period_that_has_ended_is_complete(pair: Pair, pool: Pool, standby_pool: Pool) -> None:
    """A final period is read where all of it is: not on a standby that lacks its last entry."""
    source, destination = await fund(pool, [100, 0])
    reader = await opened(pool, standby_pool, LONG)
    await execute(pair, "SELECT pg_wal_replay_pause()")
    await post(pool, posting(source, destination, 10))
    await reader.check()
    until = await pool.fetchval("SELECT clock_timestamp()")

    assert [2, 1] == await sums(reader, source, period=Period(until=until))


async def test_lost_standby_costs_one_attempt(pair: Pair, pool: Pool) -> None:
    """A standby that cannot be reached is not tried again for each read, and no read fails."""
    missing = await open_pool(
        "postgresql://payflow_wallet:wrong@127.0.0.1:1/wallet", name="test standby", size_max=1, on=database.STANDBY
    )
    reader = Reader(pool, missing, lag_seconds_max=LONG)
    reader._usable = True
    await reader.check()
    assert not reader._usable
    assert "primary" == await server_of(reader)
    await close_pool(missing)


async def test_server_that_leads_is_no_standby(pool: Pool) -> None:
    """After a failover the address of the standby may lead to a primary, perhaps one that was replaced: it is not used."""
    reader = Reader(pool, pool, lag_seconds_max=LONG)
    await reader.check()
    assert not reader._usable
