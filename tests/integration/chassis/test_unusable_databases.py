"""A database that cannot be written to, or not be used: refused as unavailable, and in use again as soon as the cause ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from deploy.local.engines import Postgres
from services.chassis import database, health, outbox, readiness
from services.chassis.broker import Publisher
from services.chassis.database import DatabaseUnavailable, LockTimeout, Pool
from services.chassis.outbox import Relay
from services.chassis.roles import Runtime
from tests.harness.databases import Templates, TestDatabase

SESSIONS = 4
SECONDS_MAX = 60

TABLES = {
    "auth": ("auth", "users"),
    "wallet": ("wallet", "accounts"),
    "wallet-seal": ("wallet", "blocks"),
    "transaction": ("transaction", "transfers"),
    "notification": ("notification", "notifications"),
}
"""For each role of a database: the service, and a table that it inserts into."""

BREAK = {
    "read-only": 'ALTER DATABASE "{name}" SET default_transaction_read_only = on',
    "search-path": 'ALTER ROLE {role} IN DATABASE "{name}" SET search_path = nowhere',
    "library": "UPDATE pg_proc SET probin = '$libdir/removed' WHERE probin = '$libdir/plpgsql'",
}
MEND = {
    "read-only": 'ALTER DATABASE "{name}" RESET default_transaction_read_only',
    "search-path": 'ALTER ROLE {role} IN DATABASE "{name}" RESET search_path',
    "library": "UPDATE pg_proc SET probin = '$libdir/plpgsql' WHERE probin = '$libdir/removed'",
}


REFUSING_TABLE = (
    "CREATE TABLE refusing (id integer PRIMARY KEY)",
    "INSERT INTO refusing VALUES (1)",
    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$",
    "CREATE TRIGGER refuse BEFORE DELETE ON refusing FOR EACH ROW EXECUTE FUNCTION refuse()",
    "GRANT ALL ON refusing TO {role}",
)
REFUSED_STATEMENTS = (
    "SELECT 1 / 0",
    "SELECT 'x'::uuid",
    "DO $$ BEGIN RAISE 'refused'; END $$",
    "INSERT INTO refusing VALUES (1)",
    "DELETE FROM refusing",
)


@dataclass
class Subject:
    """A database as one role sees it."""

    made: TestDatabase
    url: str
    table: str

    async def administer(self, statement: str) -> None:
        """Run a statement as the superuser."""
        role = self.url.partition("://")[2].partition(":")[0]
        connection = await asyncpg.connect(
            self.made.superuser_url, server_settings={"default_transaction_read_only": "off"}
        )
        try:
            await connection.execute(statement.format(name=self.made.name, role=role))
        finally:
            await connection.close()

    async def write(self, pool: Pool) -> None:
        """A statement of the kind that every service makes: a table by its name, a block of the procedural language."""
        async with database.transaction(pool) as connection:
            await connection.execute("DO $$ BEGIN NULL; END $$")
            await connection.execute(f"INSERT INTO {self.table} SELECT * FROM {self.table} WHERE false")


@pytest.fixture(params=TABLES)
async def subject(request: pytest.FixtureRequest, templates: Templates) -> AsyncIterator[Subject]:
    service, table = TABLES[request.param]
    made = await templates.fresh(service)
    yield Subject(made, made.seal_url if request.param == "wallet-seal" else made.service_url, table)
    await templates.drop(made)


@pytest.fixture
async def transaction(transaction_database: TestDatabase) -> Subject:
    return Subject(transaction_database, transaction_database.service_url, "transfers")


@asynccontextmanager
async def opened(subject: Subject) -> AsyncIterator[Pool]:
    """A pool whose sessions are open already."""
    pool = await subject.made.pool(subject.url)
    try:
        await open_all(pool)
        assert SESSIONS == pool.get_size()
        yield pool
    finally:
        await database.close_pool(pool)


async def run(pool: Pool, statement: str) -> None:
    async with database.connection(pool) as connection:
        await connection.execute(statement)


async def current(pool: Pool) -> int:
    """The session that the next request gets."""
    async with database.connection(pool) as connection:
        return int(await connection.fetchval("SELECT pg_backend_pid()"))


async def open_all(pool: Pool) -> None:
    """Have so many sessions open at a time, and give them back."""
    async with AsyncExitStack() as stack:
        for _ in range(SESSIONS):
            await stack.enter_async_context(database.connection(pool))


class Probe:
    """The `/readyz` of a process that has this pool."""

    def __init__(self, pool: Pool, *others: Pool) -> None:
        self._health = health.Health()
        self._health.register("postgres", readiness.Readiness(pool, *others).ping)

    async def is_ready(self) -> bool:
        _, failing = await self._health.check()
        return not failing

    async def until(self, *, ready: bool) -> None:
        """Wait until it is, or is not."""
        async with asyncio.timeout(SECONDS_MAX):
            while ready is not await self.is_ready():
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("state", BREAK)
async def test_one_refused_request_replaces_every_session(subject: Subject, state: str) -> None:
    """Sessions opened in a bad state stay in it after its cause has ended: the first error of one replaces all of them."""
    await subject.administer(BREAK[state])
    async with opened(subject) as pool:
        with pytest.raises(DatabaseUnavailable):
            await subject.write(pool)
        await open_all(pool)
        await subject.administer(MEND[state])

        refused = await asyncio.gather(subject.write(pool), return_exceptions=True)
        after = await asyncio.gather(*(subject.write(pool) for _ in range(SESSIONS)), return_exceptions=True)

        # A library is looked for again at each use: no session keeps that error.
        assert ([None] if state == "library" else [DatabaseUnavailable]) == [error and type(error) for error in refused]
        assert [None] * SESSIONS == after


@pytest.mark.parametrize("state", BREAK)
async def test_readiness_follows_the_database(subject: Subject, state: str) -> None:
    """Not ready while writes are impossible; ready after it, with sessions that were opened meanwhile."""
    await subject.administer(BREAK[state])
    async with opened(subject) as pool:
        probe = Probe(pool)
        meanwhile = [await probe.is_ready() for _ in range(2)]
        await subject.administer(MEND[state])
        await probe.until(ready=True)
        after = await asyncio.gather(*(subject.write(pool) for _ in range(SESSIONS)), return_exceptions=True)

    assert [False, False] == meanwhile
    assert [None] * SESSIONS == after


async def test_an_error_of_a_statement_keeps_its_session(transaction: Subject) -> None:
    """Violated constraints, wrong arguments, errors raised by triggers and lock timeouts say nothing about the session."""
    for statement in REFUSING_TABLE:
        await transaction.administer(statement)
    sessions = set()
    async with opened(transaction) as pool, opened(transaction) as others:
        for statement in REFUSED_STATEMENTS:
            sessions.add(await current(pool))
            with pytest.raises(asyncpg.PostgresError):
                await run(pool, statement)
        async with database.transaction(others) as holder:
            await holder.execute("SELECT FROM refusing FOR UPDATE")
            with pytest.raises(LockTimeout):
                await run(pool, "SET lock_timeout = '10ms'; SELECT FROM refusing FOR UPDATE")
        sessions.add(await current(pool))

    assert 1 == len(sessions)


async def test_a_session_that_ends_within_a_statement(transaction: Subject) -> None:
    """The server or the network ends a session while it works: unavailable, and the next request gets another session."""
    async with opened(transaction) as pool:
        with pytest.raises(DatabaseUnavailable):
            await run(pool, "SELECT pg_terminate_backend(pg_backend_pid())")
        with pytest.raises(DatabaseUnavailable):
            await reset_within_a_statement(pool)
        await run(pool, "SELECT 1")


async def reset_within_a_statement(pool: Pool) -> None:
    async with database.connection(pool) as connection:
        borrowed: Any = connection
        asyncio.get_running_loop().call_later(0.1, borrowed._con._transport.abort)
        await connection.execute("SELECT pg_sleep(60)")


async def test_settings_that_raise_no_error_are_followed(transaction: Subject) -> None:
    """A search path to a copy of the tables causes no error; readiness detects changed settings and renews the sessions."""
    await transaction.administer("CREATE SCHEMA copied")
    for table in ("transfers", "alembic_version"):
        await transaction.administer(f"CREATE TABLE copied.{table} (LIKE public.{table} INCLUDING ALL)")
    await transaction.administer("GRANT USAGE ON SCHEMA copied TO {role}")
    await transaction.administer("GRANT ALL ON ALL TABLES IN SCHEMA copied TO {role}")
    await transaction.administer(BREAK["search-path"].replace("nowhere", "copied"))
    async with opened(transaction) as pool, opened(transaction) as reads:
        probe = Probe(pool, reads)
        before = await schemas(pool) | await schemas(reads)
        ready = [await probe.is_ready()]
        await transaction.administer(MEND["search-path"])
        ready.append(await probe.is_ready())
        after = await schemas(pool) | await schemas(reads)

    assert [True, True] == ready
    assert ({"copied"}, {"public"}) == (before, after)


async def schemas(pool: Pool) -> set[str]:
    """Where the sessions of a pool look for their tables."""
    async with AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(database.connection(pool)) for _ in range(SESSIONS)]
        return {await session.fetchval("SELECT current_schema()") for session in sessions}


async def test_a_relay_outlives_an_unusable_database(transaction: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each loop of the relay waits and goes on, also the one that listens."""
    monkeypatch.setattr(outbox, "MEASURE_SECONDS", 0.01)
    await transaction.administer(BREAK["search-path"])
    async with opened(transaction) as pool:
        runtime = Runtime(service="test", role="relay", instance="test")
        publisher = Publisher("amqp://unused:nothing@127.0.0.1:9/", "test")
        running = asyncio.create_task(Relay(pool, publisher, runtime).run())
        with pytest.raises(DatabaseUnavailable):
            await transaction.write(pool)
        await transaction.administer(MEND["search-path"])
        await Probe(pool).until(ready=True)
        async with asyncio.timeout(SECONDS_MAX):
            while not await pool.fetchval("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"):
                await asyncio.sleep(0.01)
        runtime.stopping.set()
        await running
        await publisher.close()

    assert runtime.fault is None


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[Postgres]:
    """A server of this test."""
    engine = Postgres(tmp_path / "postgres", settings={"shared_buffers": "16MB"})
    await engine.start()
    try:
        await engine.provision()
        connection = await asyncpg.connect(engine.dsn("transaction"))
        await connection.execute(
            "CREATE TABLE alembic_version (version_num text); GRANT USAGE ON SCHEMA public TO public"
        )
        await connection.close()
        yield engine
    finally:
        await engine.stop()


async def test_a_standby_serves_nothing_until_it_is_promoted(alone: Postgres) -> None:
    """No session on a standby is used, not even for reads, which would be stale; after the promotion all work."""
    await alone.stop()
    (alone.data / "standby.signal").touch()
    await alone.start()
    pool = await database.open_pool(alone.dsn("transaction", "payflow_transaction"), name="test", size_max=SESSIONS)
    try:
        probe = Probe(pool)
        ready = await probe.is_ready()
        with pytest.raises(DatabaseUnavailable):
            await run(pool, "SELECT 1")
        await _execute(alone, "SELECT pg_promote()")
        await probe.until(ready=True)
    finally:
        await database.close_pool(pool)

    assert not ready


async def test_without_the_synchronous_standby_nothing_is_ready(alone: Postgres) -> None:
    """Commits that wait for a standby that is gone: not ready until commits end again."""
    pool = await database.open_pool(alone.dsn("transaction", "payflow_transaction"), name="test", size_max=SESSIONS)
    try:
        probe = Probe(pool)
        assert await probe.is_ready()
        await _execute(alone, "ALTER SYSTEM SET synchronous_standby_names = 'gone'")
        await _execute(alone, "SELECT pg_reload_conf()")
        await probe.until(ready=False)
        await _execute(alone, "ALTER SYSTEM RESET synchronous_standby_names")
        await _execute(alone, "SELECT pg_reload_conf()")
        await probe.until(ready=True)
    finally:
        await database.close_pool(pool)


async def _execute(engine: Postgres, statement: str) -> None:
    connection = await asyncpg.connect(engine.dsn("postgres"))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
