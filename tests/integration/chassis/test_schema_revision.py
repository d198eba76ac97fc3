"""A role is ready, and starts its work, once the schema of its database is new enough."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import asyncpg
import pytest
from alembic import command

from deploy import facts
from deploy.local.engines import Postgres
from services.chassis import database, migrations, readiness, revisions
from services.chassis.health import Health
from services.chassis.roles import Runtime
from tests.harness import preloaded, roles
from tests.harness.databases import Templates, TestDatabase

SECONDS_MAX = 60
LOGINS = {
    "auth": "auth",
    "wallet": "wallet",
    "wallet-seal": "wallet_seal",
    "transaction": "transaction",
    "notification": "notification",
}
"""A role for each login to a database that readiness depends on."""


@dataclass
class Subject:
    """A migrated database, and the health of a process that uses it with one login."""

    made: TestDatabase
    newest: str
    health: Health

    async def administer(self, statement: str) -> None:
        connection = await asyncpg.connect(self.made.superuser_url)
        await connection.execute(statement)
        await connection.close()

    async def failing_at(self, revision: str) -> list[str]:
        """What is not ready when the database is at this revision."""
        await self.administer(f"UPDATE alembic_version SET version_num = '{revision}'")
        return (await self.health.check())[1]


@pytest.fixture(params=LOGINS)
async def subject(request: pytest.FixtureRequest, templates: Templates, postgres: Postgres) -> AsyncIterator[Subject]:
    service = facts.ROLES[request.param].service
    made = await templates.fresh(service)
    pool = await made.pool(postgres.dsn(made.name, f"payflow_{LOGINS[request.param]}"))
    runtime = Runtime(service=service, role="test", instance="test")
    readiness.register(runtime, pool)
    yield Subject(made, revisions.newest(service), runtime.health)
    await database.close_pool(pool)
    await templates.drop(made)


async def test_readiness_depends_on_the_revision(subject: Subject) -> None:
    """Guarantee 62: every login may read the revision; an older one is not ready, the newest and those after it are."""
    older = f"{int(subject.newest) - 1:04}"
    revisions_tried = [subject.newest, older, subject.newest, f"{int(subject.newest) + 1:04}", "0001"]

    assert [[], ["schema"], [], [], ["schema"]] == [await subject.failing_at(each) for each in revisions_tried]


async def test_an_unreadable_revision_is_not_ready(subject: Subject) -> None:
    """No grant, as in earlier releases, no row, no table: not ready, and ready again afterwards."""
    role = "payflow_auth, payflow_wallet, payflow_wallet_seal, payflow_transaction, payflow_notification"
    failing = []
    for statement in (
        f"REVOKE SELECT ON alembic_version FROM {role}",
        f"GRANT SELECT ON alembic_version TO {role}",
        "DELETE FROM alembic_version",
        f"INSERT INTO alembic_version VALUES ('{subject.newest}')",
        "ALTER TABLE alembic_version RENAME TO hidden",
        "ALTER TABLE hidden RENAME TO alembic_version",
    ):
        await subject.administer(statement)
        failing.append((await subject.health.check())[1])

    assert [["schema"], [], ["schema"], [], ["postgres", "schema"], []] == failing


class Role:
    """A role in a process of its own, and what its ports respond."""

    def __init__(self, name: str, url: str, directory: Path, session: aiohttp.ClientSession) -> None:
        process = facts.ROLES[name]
        given = dict.fromkeys(process.databases, url)
        variables = roles.environment(name, **given)
        self._metrics = f"http://127.0.0.1:{variables['PAYFLOW_METRICS_PORT']}"
        self.port = variables.get(f"PAYFLOW_{process.service.upper()}_PORT")
        self.process = preloaded.program(name, *process.arguments, environment=variables, log=directory / "log")
        self._session = session

    async def failing(self) -> set[str] | None:
        """What is not ready; None if the process does not respond."""
        try:
            async with self._session.get(f"{self._metrics}/readyz") as response:
                return set((await response.json())["failing"])
        except aiohttp.ClientConnectorError:
            return None

    async def until(self, wanted: set[str]) -> None:
        """Wait until exactly this is not ready, apart from engines that are not there."""
        async with asyncio.timeout(SECONDS_MAX):
            while (failing := await self.failing()) is None or failing - {"rabbitmq", "queue", "wallet"} != wanted:
                await asyncio.sleep(0.02)

    async def works(self) -> bool:
        """Whether the API accepts connections, or the consumer has tried to connect to a broker that is not there."""
        if self.port is None:
            return "consumer_disconnected" in self.process.log.read_text()
        try:
            async with self._session.get(f"http://127.0.0.1:{self.port}/livez"):
                return True
        except aiohttp.ClientConnectorError:
            return False


@asynccontextmanager
async def started(name: str, url: str, directory: Path) -> AsyncIterator[Role]:
    async with aiohttp.ClientSession() as session:
        role = Role(name, url, directory, session)
        role.process.spawn()
        try:
            yield role
        finally:
            assert await role.process.stop()


async def test_a_role_waits_for_its_database_and_migration(postgres: Postgres, tmp_path: Path) -> None:
    """Guarantee 62: started before its database exists, it is alive and not ready; ready by itself after the migration."""
    name, owner_url = "late", postgres.dsn("late", "payflow_wallet_owner")
    connection = await asyncpg.connect(postgres.dsn("postgres"))
    async with started("wallet-seal", postgres.dsn(name, "payflow_wallet_seal"), tmp_path) as role:
        await role.until({"starting", "postgres", "schema"})
        pid = role.process.pid
        await connection.execute(f'CREATE DATABASE "{name}" OWNER payflow_wallet_owner')
        before = f"{int(revisions.newest('wallet')) - 1:04}"
        await asyncio.to_thread(command.upgrade, migrations.configure("wallet", owner_url), before)
        await role.until({"starting", "schema"})
        sealed = await postgres_fetchval(postgres.dsn(name), "SELECT count(*) FROM blocks")
        await migrations.migrate("wallet", owner_url)
        await role.until(set())
        alive = role.process.pid
    await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await connection.close()
    log = (tmp_path / "log").read_text()

    assert 0 == sealed
    assert pid == alive
    assert ["schema_outdated", "schema_accepted"] == re.findall(r'"event": ?"(schema_\w+)"', log)


async def postgres_fetchval(url: str, query: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


@pytest.mark.parametrize("name", ["auth", "transaction-worker"])
async def test_nothing_is_served_or_consumed_on_an_old_schema(templates: Templates, tmp_path: Path, name: str) -> None:
    """Guarantee 62: on an older schema an API does not listen and a worker has no consumer, until the migration is done."""
    made = await templates.fresh(facts.ROLES[name].service)
    newest = revisions.newest(facts.ROLES[name].service)
    owner = await asyncpg.connect(made.superuser_url)
    await owner.execute("UPDATE alembic_version SET version_num = '0001'")
    async with started(name, made.service_url, tmp_path) as role:
        await role.until({"starting", "schema"})
        meanwhile = await role.works()
        await owner.execute("UPDATE alembic_version SET version_num = $1", newest)
        await role.until(set())
        async with asyncio.timeout(SECONDS_MAX):
            while not await role.works():
                await asyncio.sleep(0.02)
    await owner.close()
    await templates.drop(made)

    assert not meanwhile
