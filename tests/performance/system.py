"""The private stack that is measured: the processes and settings that users run, without rate limits."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from deploy.local import files, lock
from deploy.local.commands import running
from deploy.local.engines import Postgres
from deploy.local.errors import LocalError
from deploy.local.home import Home
from deploy.local.payflow import PayFlow
from deploy.local.ports import find_free
from deploy.local.progress import Report
from deploy.local.roles import Wiring
from tests.harness.stack import Stack

YARDSTICK = "yardstick"
LEDGER = "ledger"
"""Databases on the same server, beside those of the services."""

SETTINGS = {
    "PAYFLOW_RATE_LIMITS": "off",
    "PAYFLOW_CANARY": "off",
    # The backlog is built while the workers are down: it must be neither refused nor reversed.
    "PAYFLOW_BACKLOG_SECONDS_MAX": "3600",
    "PAYFLOW_REVERSAL_AFTER_SECONDS": "600",
}
"""What differs from the stack that users run."""


class MeasuredPayFlow(PayFlow):
    """The whole system, and two databases beside it."""

    @property
    def postgres(self) -> Postgres:
        """The server."""
        assert isinstance(self._private.postgres, Postgres), "a stack without clusters"
        return self._private.postgres

    async def prepare_databases(self) -> None:
        """Create the databases of the yardstick and of the ledger alone, as long as nothing uses their template."""
        await super().prepare_databases()
        connection = await asyncpg.connect(self.postgres.dsn("postgres"))
        try:
            await connection.execute(f"CREATE DATABASE {YARDSTICK}")
            await connection.execute(f"CREATE DATABASE {LEDGER} TEMPLATE wallet OWNER payflow_wallet_owner")
        finally:
            await connection.close()


class System:
    """A running private stack, and logins to its databases."""

    databases = ("auth", "wallet", "transaction", "notification")

    def __init__(self, home: Path, postgres: Postgres) -> None:
        self.stack = Stack(home)
        self.postgres = postgres

    async def query(self, database: str, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Run a query as a superuser."""
        connection = await asyncpg.connect(self.postgres.dsn(database))
        try:
            return await connection.fetch(statement, *arguments)
        finally:
            await connection.close()

    async def copy(self, database: str, table: str, records: list[tuple[Any, ...]], columns: list[str]) -> None:
        """Add rows to a table as a superuser."""
        connection = await asyncpg.connect(self.postgres.dsn(database))
        try:
            await connection.copy_records_to_table(table, records=records, columns=columns)
            await connection.execute(f"ANALYZE {table}")
        finally:
            await connection.close()

    async def finalized(self, *, seconds: float) -> None:
        """Wait until no transfer is PENDING. Raises TimeoutError."""
        connection = await asyncpg.connect(self.postgres.dsn("transaction"))
        try:
            async with asyncio.timeout(seconds):
                while await connection.fetchval("SELECT EXISTS (SELECT FROM transfers WHERE status = 'PENDING')"):
                    await asyncio.sleep(0.05)
        finally:
            await connection.close()


@asynccontextmanager
async def started(home: Path, *, report: Report, wiring: type[Wiring] = Wiring) -> AsyncIterator[System]:
    """Start an empty stack below `home`, its processes by `wiring`; stop it afterwards and remove its data."""
    caller = {name: value for name, value in os.environ.items() if not name.startswith("PAYFLOW_")}
    _empty(home)
    variables = caller | SETTINGS | {"PAYFLOW_GATEWAY_PORT": str(find_free())}
    plan = MeasuredPayFlow(Home(home), variables, wiring=wiring)
    # For the time at which a status became visible, without a query during the load.
    plan.postgres._settings["track_commit_timestamp"] = "on"
    try:
        async with running(Home(home), plan, report=report):
            yield System(home, plan.postgres)
    finally:
        shutil.rmtree(home / "postgres", ignore_errors=True)
        shutil.rmtree(home / "rabbitmq", ignore_errors=True)


def _empty(home: Path) -> None:
    """An empty folder.

    Raises:
        LocalError: another run uses it, or it cannot be written.
    """
    try:
        if home.exists():
            if lock.holder(Home(home).lock) is not None:
                raise LocalError(f"another run uses {home}")
            shutil.rmtree(home)
        files.make_folder(home)
    except OSError as error:
        raise LocalError(f"cannot create a private stack at {home}: {error.strerror}") from error
