"""A migration of a release that does not exist yet: everything that the expand rule permits, done to every table."""

from __future__ import annotations

import asyncpg

from services.chassis import revisions

COLUMN = "of_the_next_release"
TABLES = """
SELECT format('%I', table_name) FROM information_schema.tables
WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND table_name <> 'alembic_version'
"""


async def expand(owner_url: str, service: str) -> str:
    """Add columns to each table, and a table and an index; the new revision."""
    revision = f"{int(revisions.newest(service)) + 1:04}"
    connection = await asyncpg.connect(owner_url)
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL lock_timeout = '2s'")
            for (table,) in await connection.fetch(TABLES):
                await connection.execute(
                    f"ALTER TABLE {table} ADD COLUMN {COLUMN} text, ADD COLUMN number_{COLUMN} integer NOT NULL DEFAULT 0"
                )
            await connection.execute(f"CREATE TABLE {COLUMN} (id uuid PRIMARY KEY, note text NOT NULL)")
            await connection.execute(f"CREATE INDEX {COLUMN}_by_note ON {COLUMN} (note)")
            await connection.execute("UPDATE alembic_version SET version_num = $1", revision)
    finally:
        await connection.close()
    return revision
