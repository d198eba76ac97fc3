"""Databases of all services, and a server with backups."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.harness.databases import TestDatabase
from tests.harness.four_databases import FourDatabases, opened


@pytest.fixture
async def four(
    transaction_database: TestDatabase,
    wallet_database: TestDatabase,
    notification_database: TestDatabase,
    auth_database: TestDatabase,
) -> AsyncIterator[FourDatabases]:
    """Empty, migrated databases."""
    made = (transaction_database, wallet_database, notification_database, auth_database)
    async with opened(list(zip(("transaction", "wallet", "notification", "auth"), made, strict=True))) as databases:
        yield databases
