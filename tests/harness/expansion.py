"""A migration of a release that does not exist yet: everything that the expand rule permits, done to every table."""

from __future__ import annotations

import asyncpg

from services.chassis import revisions

COLUMN = "of_the_next_release"
ATTEMPTS_MAX = 10
TABLES = """
SELECT format('%I', table_name) FROM information_schema.tables
WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND table_name <> 'alembic_version'
"""


async def expand(owner_url: str, service: str) -> str:
    """Add columns to each table, and a table and an index; the new revision."""
    revision = f"{int(revisions.newest(service)) + 1:04}"
    connection = await asyncpg.connect(owner_url)
    try:
        await connection.execute("SET lock_timeout = '2s'")
        # Each table in a transaction of its own: one that locks several can deadlock with the queries of running roles.
        for (table,) in await connection.fetch(TABLES):
            await _alter(connection, table)
        async with connection.transaction():
            await connection.execute(f"CREATE TABLE {COLUMN} (id uuid PRIMARY KEY, note text NOT NULL)")
            await connection.execute(f"CREATE INDEX {COLUMN}_by_note ON {COLUMN} (note)")
            await connection.execute("UPDATE alembic_version SET version_num = $1", revision)
    finally:
        await connection.close()
    return revision


async def _alter(connection: asyncpg.Connection, table: str) -> None:
    """Add the columns to one table, and again while another session has it locked."""
    statement = f"ALTER TABLE {table} ADD COLUMN {COLUMN} text, ADD COLUMN number_{COLUMN} integer NOT NULL DEFAULT 0"
    for _ in range(ATTEMPTS_MAX - 1):
        try:
            await connection.execute(statement)
        except asyncpg.LockNotAvailableError:
            continue
        return
    await connection.execute(statement)
