"""Fresh databases for tests: initialized and migrated once per run, then copied, for a server as files, for a test by SQL."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import subprocess
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from deploy.local import files
from deploy.local.engines import Postgres
from deploy.local.engines.postgres import DATABASES
from services.chassis import database, migrations, revisions
from services.chassis.database import Pool

SETTINGS = {
    # No test needs these data after a crash of the machine. What a stack writes is durable, as everywhere.
    "fsync": "off",
    # To drop a database the server looks at each of its buffers.
    "shared_buffers": "64MB",
}
"""Of a server whose databases are copied for tests: hundreds of copies in a run."""

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


class DataFolder:
    """The data folder of a stopped PostgreSQL server with the empty databases of all services, made once per run."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def copy(self, directory: Path, secrets: Path) -> None:
        """Copy it to where a server of `directory` has its data; its passwords go to the file `secrets`."""
        await asyncio.to_thread(self._directory.mkdir, exist_ok=True)
        with (self._directory / "lock").open("w") as lock:
            # In a thread: another process may be making it.
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
            if not self._made.exists():
                await self._make()
        files.make_folder(directory)
        command = ["cp", "-a", "--reflink=auto", str(self._made / "data"), str(directory)]
        await asyncio.to_thread(subprocess.check_call, command)
        files.write_atomically(secrets, (self._made / "secrets.json").read_text())

    @property
    def _made(self) -> Path:
        return self._directory / "postgres"

    async def _make(self) -> None:
        draft = Postgres(self._directory / "draft")
        await draft.start()
        try:
            await draft.provision()
            for service in DATABASES:
                await migrations.migrate(service, draft.dsn(service, f"payflow_{service}_owner"))
        finally:
            await draft.stop()
        draft.directory.rename(self._made)


class Templates:
    """The databases of a server that are copied for tests."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._migrated: set[str] = set()
        self._connection: asyncpg.Connection | None = None

    async def close(self) -> None:
        """Close the connection by which databases are copied."""
        if self._connection is not None:
            await self._connection.close()

    async def fresh(self, service: str) -> TestDatabase:
        """A copy of the service's migrated, empty database."""
        if service not in self._migrated:
            await self._migrate(service)
            self._migrated.add(service)
        name = f"{service}_{next(_numbers)}"
        owner = f"payflow_{service}_owner"
        await self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{service}" OWNER {owner} STRATEGY file_copy')
        return TestDatabase(
            name=name,
            service_url=self._postgres.dsn(name, f"payflow_{service}"),
            owner_url=self._postgres.dsn(name, f"payflow_{service}_owner"),
            superuser_url=self._postgres.dsn(name),
            proof_url=self._postgres.dsn(name, "payflow_wallet_proof"),
            seal_url=self._postgres.dsn(name, "payflow_wallet_seal"),
        )

    async def _migrate(self, service: str) -> None:
        """Migrate the template, unless it is a copy of one that was."""
        url = self._postgres.dsn(service, f"payflow_{service}_owner")
        if await revisions.find(url) != revisions.newest(service):
            await migrations.migrate(service, url)

    async def drop(self, made: TestDatabase) -> None:
        """Drop a copy, including its open connections."""
        await self._execute(f'DROP DATABASE IF EXISTS "{made.name}" WITH (FORCE)')

    async def _execute(self, statement: str) -> None:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(self._postgres.dsn("postgres"))
        await self._connection.execute(statement)
