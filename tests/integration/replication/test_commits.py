"""The end of a commit: what is known of it, and in which state the connection is afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import pytest

from services.chassis import database, replication
from services.chassis.database import CommitUnknown, DatabaseUnavailable, Pool
from services.chassis.replication import OnceReplicated
from services.contracts.identifiers import new_id
from services.contracts.refusal import OutcomeUnknown, Refusal
from tests.harness.standby import Pair

INSERT = "INSERT INTO freeze_hints (wallet_id) VALUES ($1)"
COUNT = "SELECT count(*) FROM freeze_hints WHERE wallet_id = $1"


@pytest.fixture
def service() -> str:
    return "transaction"


@pytest.fixture
async def impatient(pair: Pair) -> AsyncIterator[Pool]:
    """One connection with a short time limit for statements."""
    url = pair.primary.dsn("transaction", "payflow_transaction")
    opened = await database.open_pool(url, name="test", size_max=1, command_seconds=0.2)
    yield opened
    pair.resume()
    await database.close_pool(opened)


async def insert(pool: Pool, id_: UUID) -> None:
    async with database.transaction(pool) as connection:
        await connection.execute(INSERT, id_)


async def insert_alone(pool: Pool, id_: UUID) -> None:
    async with database.connection(pool) as connection:
        await connection.execute(INSERT, id_)


async def insert_in_one_statement(pool: Pool, id_: UUID) -> None:
    async with database.single_statement(pool) as connection:
        await connection.execute(INSERT, id_)


async def count(pool: Pool, id_: UUID) -> int:
    """Read in a transaction of its own, which also shows that the connection is in none."""
    async with database.transaction(pool) as connection:
        return await connection.fetchval(COUNT, id_)


@pytest.mark.parametrize("write", [insert, insert_alone, insert_in_one_statement])
async def test_cancelled_wait_is_unknown(
    pair: Pair, pool: Pool, write: Callable[[Pool, UUID], Awaitable[None]]
) -> None:
    """A session that cancels the wait of a COMMIT makes the server report success: it is unknown, whatever the server says."""
    id_ = new_id()
    await pair.leave_unknown(lambda: write(pool, id_))
    assert 1 == await count(pool, id_)


@pytest.mark.parametrize("write", [insert, insert_in_one_statement])
async def test_terminated_wait_is_unknown(
    pair: Pair, pool: Pool, write: Callable[[Pool, UUID], Awaitable[None]]
) -> None:
    """A COMMIT whose session is terminated while it waits is unknown, and the next one works."""
    id_ = new_id()
    await pair.lose_standby()
    task = asyncio.ensure_future(write(pool, id_))
    await pair.terminate_waiting(task)
    with pytest.raises(CommitUnknown):
        await task
    pair.resume()
    assert 1 == await count(pool, id_)
    await insert(pool, new_id())


@pytest.mark.parametrize("write", [insert, insert_in_one_statement])
async def test_time_out_at_commit_is_unknown(
    pair: Pair, pool: Pool, impatient: Pool, write: Callable[[Pool, UUID], Awaitable[None]]
) -> None:
    """A COMMIT that takes too long is unknown; its connection is used again, outside a transaction."""
    id_ = new_id()
    await pair.lose_standby()
    async with asyncio.timeout(30):
        while await count(pool, id_) == 0:
            # On a busy machine an earlier statement may take too long, and then nothing is recorded.
            with pytest.raises(DatabaseUnavailable) as raised:
                await write(impatient, id_)
            assert isinstance(raised.value, CommitUnknown) or await count(pool, id_) == 0
    pair.resume()
    async with asyncio.timeout(30):
        while True:
            try:
                assert 1 == await count(impatient, id_)
            except DatabaseUnavailable:
                continue
            break


async def test_cancellation_without_a_response_is_unknown(pair: Pair, pool: Pool) -> None:
    """A COMMIT that takes too long, on a server that does not respond to its cancellation, is unknown as well."""
    id_ = new_id()
    url = pair.primary.dsn("transaction", "payflow_transaction")
    opened = await database.open_pool(url, name="test", size_max=1, command_seconds=4.0)
    await pair.lose_standby()
    task = asyncio.ensure_future(insert(opened, id_))
    [waiting] = await pair.until_waiting(task)
    os.kill(waiting, signal.SIGSTOP)
    try:
        with pytest.raises(CommitUnknown):
            await task
    finally:
        os.kill(waiting, signal.SIGCONT)
    pair.resume()
    assert [1, 1] == [await count(each, id_) for each in (pool, opened)]
    await database.close_pool(opened)


async def test_task_cancelled_at_commit(pair: Pair, impatient: Pool) -> None:
    """A caller that is cancelled while its COMMIT waits leaves a connection that can be used again."""
    id_ = new_id()
    await pair.lose_standby()
    patient = await database.open_pool(pair.primary.dsn("transaction", "payflow_transaction"), name="test", size_max=1)
    task = asyncio.ensure_future(insert(patient, id_))
    await pair.until_waiting(task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    pair.resume()
    assert 1 == await count(patient, id_)
    await database.close_pool(patient)


async def test_error_before_commit_is_known(pool: Pool) -> None:
    """An error before COMMIT means that nothing was recorded: the database is unavailable."""
    id_ = new_id()

    async def fail() -> None:
        async with database.transaction(pool) as connection:
            await connection.execute(INSERT, id_)
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(DatabaseUnavailable) as raised:
        await fail()
    assert not isinstance(raised.value, CommitUnknown)
    assert 0 == await count(pool, id_)


async def test_error_of_a_single_statement(pool: Pool) -> None:
    """An error of the statement means that nothing was recorded. If the session was lost meanwhile, the result is unknown."""

    async def fail(statement: str) -> type[Exception]:
        with pytest.raises(DatabaseUnavailable) as raised:
            async with database.single_statement(pool) as connection:
                await connection.execute(statement)
        return raised.type

    found = [await fail(one) for one in ("DELETE FROM missing", "SELECT pg_terminate_backend(pg_backend_pid())")]

    assert [DatabaseUnavailable, CommitUnknown] == found


async def test_barrier_outside_a_transaction(pool: Pool) -> None:
    """Waiting for replication outside a transaction is an error of the programmer: nothing would wait."""
    async with database.connection(pool) as connection:
        with pytest.raises(AssertionError):
            await replication.await_replication(connection)


async def test_refusal_once_replicated(pair: Pair, pool: Pool) -> None:
    """A refusal that depends on rows found commits, waits, and is raised afterwards."""

    async def refuse() -> None:
        async with database.transaction(pool) as connection:
            await connection.fetchval(COUNT, new_id())
            raise OnceReplicated(Refusal("found"))

    await pair.lose_standby()
    with pytest.raises(Refusal, match="found"):
        await pair.after_replication(refuse)


async def test_form_over_http() -> None:
    """An unknown commit is a 504 `outcome_unknown`, as a call without a response is."""
    problem = CommitUnknown().problem()
    assert (504, OutcomeUnknown.code) == (problem["status"], problem["code"])
    assert isinstance(CommitUnknown(), DatabaseUnavailable)
