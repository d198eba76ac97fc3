"""The revision of a service's database, and the newest one that this code knows. Imports little: everything may import it."""

from __future__ import annotations

from pathlib import Path

import asyncpg

from services.chassis.statements import Statements

SERVICES = Path(__file__).parents[1]

statements = Statements(SERVICES / "chassis" / "sql" / "queries_readiness.sql")


def newest(service: str) -> str:
    """The newest revision of a service's database. Revisions are numbered, `0001` and so on, so they compare as text."""
    return max(path.stem for path in (SERVICES / service / "sql" / "migrations").glob("*.sql"))


async def find(url: str) -> str | None:
    """The revision of the database at `url` (the DSN of the owner); None before its first migration."""
    connection = await asyncpg.connect(url)
    try:
        found: str | None = await connection.fetchval(statements.read_revision)
    except asyncpg.UndefinedTableError:
        return None
    finally:
        await connection.close()
    return found
