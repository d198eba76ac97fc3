"""Migrations: repeated runs change nothing, concurrent runs take turns, and schema.sql matches."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from pathlib import Path

import asyncpg
import pytest

from deploy.local.engines import Postgres
from deploy.local.engines.postgres import DATABASES
from services.chassis import revisions
from tests.harness import preloaded
from tests.harness.databases import Templates
from tests.harness.expansion import expand

SERVICES = Path(__file__).parents[2] / "services"


def schema(postgres: Postgres, database: str) -> str:
    """The output of pg_dump without what differs between servers."""
    dumped = subprocess.run(
        ["pg_dump", "--schema-only", "--no-owner", "--exclude-table=alembic_version", postgres.dsn(database)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    kept = [line for line in dumped.splitlines() if not re.match(r"--|SET |SELECT pg_catalog|\\|$", line)]
    return "\n".join(kept) + "\n"


@pytest.mark.parametrize("database", DATABASES)
async def test_schema_sql_matches_the_migrations(postgres: Postgres, templates: Templates, database: str) -> None:
    """sql/schema.sql is exactly what the migrations create; `make schema` writes it."""
    made = await templates.fresh(database)
    written = (SERVICES / database / "sql" / "schema.sql").read_text()

    now = schema(postgres, made.name)
    await templates.drop(made)

    assert written == now


@pytest.mark.parametrize("database", DATABASES)
async def test_repeated_and_concurrent_migrations(postgres: Postgres, templates: Templates, database: str) -> None:
    """Guarantee 62, in part: of three concurrent migrators one migrates, the others wait; another run changes nothing."""
    connection = await asyncpg.connect(postgres.dsn("postgres"))
    name = f"{database}_empty"
    await connection.execute(f'CREATE DATABASE "{name}" OWNER payflow_{database}_owner')
    url = postgres.dsn(name, f"payflow_{database}_owner")

    codes = await asyncio.gather(*(migrate(database, url) for _ in range(3)))
    first = schema(postgres, name)
    again_code = await migrate(database, url)
    again = schema(postgres, name)
    await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await connection.close()

    assert [0, 0, 0, 0] == [*codes, again_code]
    assert first == again
    assert "CREATE TABLE" in first


async def test_an_older_migration_changes_nothing(postgres: Postgres, templates: Templates) -> None:
    """Guarantee 62: the migration of this release leaves a database alone that a later one has migrated, and succeeds."""
    made = await templates.fresh("wallet")
    revision = await expand(made.owner_url, "wallet")
    before = schema(postgres, made.name)

    code = await migrate("wallet", made.owner_url)

    assert (0, revision) == (code, await revisions.find(made.owner_url))
    assert before == schema(postgres, made.name)
    await templates.drop(made)


async def migrate(database: str, url: str) -> int | None:
    """Run the job as a separate process; return its exit code."""
    environment = os.environ | {f"PAYFLOW_{database.upper()}_OWNER_DATABASE_URL": url}
    status, _, _ = await preloaded.run_to_end(f"services.{database}", "migrate", environment=environment)
    return status
