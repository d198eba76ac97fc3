"""How Alembic connects to a database: one connection, an advisory lock so that two migrators take turns, short lock waits."""

from __future__ import annotations

import asyncio

from alembic import context
from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from services.chassis.migrations import LOCK_TIMEOUT

ADVISORY_LOCK = 7_290_351
TURN_SECONDS = 0.1


def migrate(connection: Connection) -> None:
    """Run what is missing, each revision in a transaction of its own."""
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


async def take_turn(connection: AsyncConnection) -> None:
    """Wait for the advisory lock of the session.

    It is polled: a statement that waits for it would hold a snapshot, and `CREATE INDEX CONCURRENTLY` of the migrator before
    waits for snapshots.
    """
    while not await connection.scalar(text(f"SELECT pg_try_advisory_lock({ADVISORY_LOCK})")):
        await connection.rollback()
        await asyncio.sleep(TURN_SECONDS)
    await connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
    await connection.commit()


async def connect() -> None:
    """Open the connection named by the caller and migrate on it."""
    engine = create_async_engine(context.config.attributes["url"], poolclass=pool.NullPool)
    try:
        async with engine.connect() as connection:
            await take_turn(connection)
            await connection.run_sync(migrate)
            await connection.commit()
    finally:
        await engine.dispose()


asyncio.run(connect())
