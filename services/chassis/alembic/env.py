"""How Alembic reaches a database: one connection, an advisory lock so that two migrators take turns, short lock waits."""

from __future__ import annotations

import asyncio

from alembic import context
from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

ADVISORY_LOCK = 7_290_351
LOCK_TIMEOUT = "2s"


def migrate(connection: Connection) -> None:
    """Run what is missing in one transaction."""
    context.configure(connection=connection, transaction_per_migration=False)
    with context.begin_transaction():
        connection.execute(text(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"))
        # A migration that waits for a table lock makes everybody behind it wait: give up early instead.
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
        context.run_migrations()


async def connect() -> None:
    """Open the connection named by the caller and migrate on it."""
    engine = create_async_engine(context.config.attributes["url"], poolclass=pool.NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(migrate)
            await connection.commit()
    finally:
        await engine.dispose()


asyncio.run(connect())
