"""This release on the schema of the next one: all tests in this folder run on it."""

from __future__ import annotations

import os

from services.chassis import revisions
from tests.harness import expansion, preloaded
from tests.harness.api import Person
from tests.harness.stack import Stack


async def test_this_code_runs_on_the_next_schema(stack: Stack, alice: Person, bob: Person) -> None:
    """Guarantee 62: each table has new columns, each database a later revision; all roles are ready, and money moves."""
    transfer = await alice.send_money(bob, 1, wait=20)
    columns = f"SELECT count(*) FROM information_schema.columns WHERE column_name = '{expansion.COLUMN}'"
    for service in stack["databases"]:
        [(found,)] = await stack.query(service, "SELECT version_num FROM alembic_version")
        [(count,)] = await stack.query(service, columns)
        assert found > revisions.newest(service)
        assert count > 1
    for name in stack["metrics"]:
        if name not in ("postgres", "rabbitmq", "redis"):
            await stack.ready(name)

    assert "COMPLETED" == transfer.body["status"]


async def test_an_older_migration_changes_nothing(stack: Stack) -> None:
    """Guarantee 62: the migration of this release leaves a database alone that a later one has migrated, and succeeds."""
    before = {service: await stack.query(service, "TABLE alembic_version") for service in stack["databases"]}
    statuses = []
    for service, url in stack["databases"].items():
        variables = os.environ | {f"PAYFLOW_{service.upper()}_OWNER_DATABASE_URL": url}
        statuses.append((await preloaded.run_to_end(f"services.{service}", "migrate", environment=variables))[0])

    assert [0] * 4 == statuses
    assert before == {service: await stack.query(service, "TABLE alembic_version") for service in stack["databases"]}
