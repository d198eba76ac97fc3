"""The query by which KEDA counts waiting transfers in the database, by its own login on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from deploy.local.engines import Postgres
from tests.deploy.k8s.test_scaling import scaled_object
from tests.harness.databases import TestDatabase

FILL = """
INSERT INTO transfers (id, user_id, recipient_id, kind, status, amount, currency, from_wallet_id, to_wallet_id, request_hash,
    request_id, created_at, expires_at, completed_at)
SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'transfer', status, 1, 'USD', gen_random_uuid(),
    gen_random_uuid(), '', '', now(), now(), CASE status WHEN 'COMPLETED' THEN now() END
FROM (VALUES ('PENDING', 300), ('COMPLETED', 5000)) AS wanted (status, count), generate_series(1, wanted.count)
"""


@pytest.fixture
async def scaler(postgres: Postgres, transaction_database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    """A connection as KEDA makes it, to a database with 300 waiting and 5,000 completed transfers."""
    owner = await asyncpg.connect(transaction_database.owner_url)
    try:
        await owner.execute(FILL)
        await owner.execute("ANALYZE transfers")
    finally:
        await owner.close()
    metadata = scaled_object("postgresql")["triggers"][0]["metadata"]
    connection = await asyncpg.connect(postgres.dsn(transaction_database.name, metadata["userName"]))
    try:
        yield connection
    finally:
        await connection.close()


def query() -> str:
    """The query of the ScaledObject."""
    text: str = scaled_object("postgresql")["triggers"][0]["metadata"]["query"]
    return text


async def test_counts_waiting_transfers(scaler: asyncpg.Connection) -> None:
    """Guarantee 64: the login of the autoscaler counts the PENDING transfers, by the index that holds only those."""
    assert await scaler.fetchval(query()) == 300
    plan = "\n".join([row[0] for row in await scaler.fetch(f"EXPLAIN {query()}")])
    assert "transfers_expiring" in plan


async def test_reads_nothing_else(scaler: asyncpg.Connection) -> None:
    """The login of the autoscaler can read one column and can change nothing, even if it asks for a transaction that writes."""
    await scaler.execute("SET default_transaction_read_only = off")
    for statement in (
        "SELECT amount FROM transfers",
        "SELECT user_id FROM transfers",
        "SELECT count(*) FROM wallets",
        "UPDATE transfers SET status = 'PENDING'",
        "DELETE FROM transfers",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await scaler.execute(statement)
