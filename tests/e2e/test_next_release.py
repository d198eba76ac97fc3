"""This release on the schema of the next one: all tests in this folder run on it."""

from __future__ import annotations

from services.chassis import revisions
from tests.harness import expansion
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
