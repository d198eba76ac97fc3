"""How Alembic connects: one connection, an advisory lock so that migrations run one after the other, a short lock timeout."""

from __future__ import annotations

import asyncio

from alembic import context
from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from services.chassis.migrations import LOCK_TIMEOUT

ADVISORY_LOCK = 7_290_351
LOCK_POLL_SECONDS = 0.1


def migrate(connection: Connection) -> None:
    """Run the missing revisions, each in its own transaction."""
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


async def lock(connection: AsyncConnection) -> None:
    """Take the advisory lock of the session.

    It is polled: a waiting statement would hold a snapshot, and `CREATE INDEX CONCURRENTLY` of the earlier migration waits for
    snapshots.
    """
    while not await connection.scalar(text(f"SELECT pg_try_advisory_lock({ADVISORY_LOCK})")):
        await connection.rollback()
        await asyncio.sleep(LOCK_POLL_SECONDS)
    await connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
    await connection.commit()


async def connect() -> None:
    """Connect to the database of the caller and migrate it."""
    engine = create_async_engine(context.config.attributes["url"], poolclass=pool.NullPool)
    try:
        async with engine.connect() as connection:
            await lock(connection)
            await connection.run_sync(migrate)
            await connection.commit()
    finally:
        await engine.dispose()


asyncio.run(connect())
