"""The four databases of a deployment: their URLs, and streams of rows in one snapshot each."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from deploy.programs import DeployError

NAMES = ("transaction", "wallet", "notification", "auth")
"""In the order in which their snapshots are taken: what a later one knows, an earlier one has caused."""

SECRETS_FOLDER = "PAYFLOW_SECRETS_DIR"
CONNECT_SECONDS_MAX = 10.0
ROWS_AT_A_TIME = 2000


def urls(environment: Mapping[str, str], stack: Path | None) -> dict[str, str]:
    """The URL of each database with the login of its owner: from a stack.json, the environment or files of secrets.

    Raises:
        DeployError: one is missing.
    """
    if stack is not None:
        try:
            return {name: str(json.loads(stack.read_text())["databases"][name]) for name in NAMES}
        except (OSError, ValueError, KeyError, TypeError):
            raise DeployError(f"{stack} does not describe a running stack") from None
    found = {name: secret(environment, f"PAYFLOW_{name.upper()}_OWNER_DATABASE_URL") for name in NAMES}
    missing = [f"PAYFLOW_{name.upper()}_OWNER_DATABASE_URL" for name, url in found.items() if url is None]
    if missing:
        raise DeployError(f"not set, neither as a variable nor as a file of {SECRETS_FOLDER}: {', '.join(missing)}")
    return {name: url for name, url in found.items() if url is not None}


def secret(environment: Mapping[str, str], variable: str) -> str | None:
    """The value of a setting: a variable, or a file of PAYFLOW_SECRETS_DIR; None if it is neither."""
    given = environment.get(variable)
    if given or SECRETS_FOLDER not in environment:
        return given
    file = Path(environment[SECRETS_FOLDER]) / variable.lower()
    return file.read_text().strip() if file.is_file() else None


@dataclass(frozen=True, slots=True)
class Snapshots:
    """One snapshot of each database, read only."""

    transaction: asyncpg.Connection
    wallet: asyncpg.Connection
    notification: asyncpg.Connection
    auth: asyncpg.Connection


@asynccontextmanager
async def snapshots(addresses: Mapping[str, str]) -> AsyncIterator[Snapshots]:
    """Take a snapshot of each database, one after the other in the order of NAMES.

    Raises:
        DeployError: one cannot be reached.
    """
    async with AsyncExitStack() as stack:
        opened: dict[str, asyncpg.Connection] = {}
        for name in NAMES:
            connection = await connect(name, addresses[name])
            stack.push_async_callback(connection.close)
            await stack.enter_async_context(connection.transaction(isolation="repeatable_read", readonly=True))
            # A time limit of the role would end the comparison of a large history.
            await connection.execute(
                "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"
            )
            # A snapshot is taken by the first query.
            await connection.fetchval("SELECT count(*) FROM alembic_version")
            opened[name] = connection
        yield Snapshots(**opened)


async def connect(name: str, url: str) -> asyncpg.Connection:
    """Connect to a database.

    Raises:
        DeployError: it cannot be reached.
    """
    try:
        return await asyncpg.connect(url, timeout=CONNECT_SECONDS_MAX)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DeployError(f"the {name} database cannot be reached: {error or 'no response'}") from None


async def rows(connection: asyncpg.Connection, statement: str, *arguments: Any) -> AsyncIterator[asyncpg.Record]:
    """The rows of a query, a few thousand in memory at a time."""
    async for row in connection.cursor(statement, *arguments, prefetch=ROWS_AT_A_TIME):
        yield row
