"""A superuser connection to the database server of a stack."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg

from deploy.local.engines.postgres import SUPERUSER
from deploy.local.home import Home
from deploy.secrets.store import Secrets
from tests.harness.stack import Stack


@asynccontextmanager
async def logged_in(stack: Stack, database: str = "postgres") -> AsyncIterator[asyncpg.Connection]:
    """A superuser connection; it may be broken by the end of the block."""
    password = Secrets(Home(stack.home).secrets).password(f"postgres:{SUPERUSER}")
    parts = urlsplit(stack["databases"]["wallet"])
    connection = await asyncpg.connect(f"postgresql://{SUPERUSER}:{password}@{parts.hostname}:{parts.port}/{database}")
    try:
        yield connection
    finally:
        connection.terminate()
