"""Fresh databases for tests: each service's schema is migrated once per run and copied for each test that asks."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import asyncpg

from deploy.local.engines import Postgres
from services.chassis import database, migrations
from services.chassis.database import Pool

_numbers = itertools.count(1)


@dataclass(slots=True)
class TestDatabase:
    """One database of one test, as its service's role sees it, as its owner, and as the superuser."""

    __test__ = False

    name: str
    service_url: str
    owner_url: str
    superuser_url: str
    proof_url: str
    seal_url: str

    async def pool(self, url: str | None = None, **settings: str) -> Pool:
        """A pool for the service role, or for the one behind `url`."""
        return await database.open_pool(url or self.service_url, name="test", size_max=16, server_settings=settings)


class Templates:
    """The migrated database of each service, made on first use."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._migrated: set[str] = set()

    async def fresh(self, service: str) -> TestDatabase:
        """A copy of the service's migrated, empty database."""
        if service not in self._migrated:
            await migrations.migrate(service, self._postgres.dsn(service, f"payflow_{service}_owner"))
            self._migrated.add(service)
        name = f"{service}_{next(_numbers)}"
        await self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{service}" OWNER payflow_{service}_owner')
        return TestDatabase(
            name=name,
            service_url=self._postgres.dsn(name, f"payflow_{service}"),
            owner_url=self._postgres.dsn(name, f"payflow_{service}_owner"),
            superuser_url=self._postgres.dsn(name),
            proof_url=self._postgres.dsn(name, "payflow_wallet_proof"),
            seal_url=self._postgres.dsn(name, "payflow_wallet_seal"),
        )

    async def drop(self, made: TestDatabase) -> None:
        """Remove a copy, with whoever is still connected to it."""
        await self._execute(f'DROP DATABASE IF EXISTS "{made.name}" WITH (FORCE)')

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self._postgres.dsn("postgres"))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()
