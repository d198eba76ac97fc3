"""The money path on fresh databases and empty queues."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from deploy.local.engines import RabbitMQ
from services.chassis.database import close_pool
from services.wallet.proof import prove
from tests.harness.databases import TestDatabase
from tests.harness.services import MoneyPath, open_money_path


@pytest.fixture
async def path(
    wallet_database: TestDatabase, transaction_database: TestDatabase, rabbitmq: RabbitMQ, patient_pools: None
) -> AsyncIterator[MoneyPath]:
    """After each test the ledger must prove correct, and every status must match its outcome."""
    async with AsyncExitStack() as stack:
        opened = await open_money_path(stack, wallet_database, transaction_database, rabbitmq)
        yield opened
        await opened.stop_all()
        proof_pool = await wallet_database.pool(wallet_database.proof_url)
        proof = await prove(proof_pool)
        await close_pool(proof_pool)
        outcome_rows = await opened.wallet_pool.fetch("SELECT transfer_id, outcome FROM outcomes")
        status_rows = await opened.pool.fetch("SELECT id, status FROM transfers WHERE status <> 'PENDING'")
        outcomes = {row["transfer_id"]: row["outcome"] for row in outcome_rows}
        statuses = {row["id"]: row["status"] for row in status_rows}
    assert proof.ok, proof
    statuses_by_outcome = {"posted": "COMPLETED", "rejected": "FAILED", "voided": "FAILED"}
    assert statuses == {id_: statuses_by_outcome[outcomes[id_]] for id_ in statuses}
