"""The auth service on a fresh database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.chassis.database import Pool, close_pool
from tests.harness.databases import TestDatabase
from tests.integration.auth.service import AuthService, running


@pytest.fixture
async def pool(auth_database: TestDatabase, patient_pools: None) -> AsyncIterator[Pool]:
    """A pool of the service role."""
    opened = await auth_database.pool()
    yield opened
    await close_pool(opened)


@pytest.fixture
async def auth(pool: Pool) -> AsyncIterator[AuthService]:
    async with running(pool) as service:
        yield service
