"""The wallet's pools on a fresh database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.chassis.database import Pool, close_pool
from services.wallet.app import PLANNER
from services.wallet.proof import prove
from tests.harness.databases import TestDatabase
from tests.harness.sealed_ledgers import Ledger, sealed_ledger


@pytest.fixture
async def pool(wallet_database: TestDatabase, patient_pools: None) -> AsyncIterator[Pool]:
    """A pool as the service opens it. After each test the proof of the whole ledger must pass."""
    opened = await wallet_database.pool(**PLANNER)
    yield opened
    proof_pool = await wallet_database.pool(wallet_database.proof_url)
    proof = await prove(proof_pool)
    await close_pool(proof_pool)
    await close_pool(opened)
    assert proof.ok, proof


@pytest.fixture
async def ledger(wallet_database: TestDatabase) -> AsyncIterator[Ledger]:
    """A sealed history that a test may change; the proof need not pass afterwards."""
    async with sealed_ledger(wallet_database) as made:
        yield made
