"""A pool without a free connection is counted; an unavailable database is not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from prometheus_client import REGISTRY

from services.chassis import database
from services.chassis.database import DatabaseUnavailable, Pool
from tests.harness.databases import TestDatabase


@pytest.fixture(autouse=True)
def _short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "ACQUIRE_SECONDS", 0.3)


@pytest.fixture
async def pool(transaction_database: TestDatabase) -> AsyncIterator[Pool]:
    opened = await database.open_pool(transaction_database.service_url, name="test", size_max=1)
    yield opened
    await database.close_pool(opened)


def timeouts() -> float:
    """How many uses of a pool got no connection."""
    return REGISTRY.get_sample_value("payflow_database_pool_timeouts_total") or 0.0


async def test_exhausted_pool_is_counted(pool: Pool) -> None:
    """With every connection in use, a use that gets none in time is counted."""
    before = timeouts()
    async with database.connection(pool):
        with pytest.raises(DatabaseUnavailable):
            async with database.connection(pool):
                pass

    assert 1 == timeouts() - before


async def test_unavailable_database_is_no_exhausted_pool() -> None:
    """A connection that cannot be opened is not counted: the alert about the database says more."""
    away = await database.open_pool("postgresql://payflow:password@127.0.0.1:9/transaction", name="test", size_max=1)
    before = timeouts()
    try:
        with pytest.raises(DatabaseUnavailable):
            async with database.connection(away):
                pass
    finally:
        await database.close_pool(away)

    assert 0 == timeouts() - before
