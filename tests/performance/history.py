"""Old transfers, many of them: posted to the ledger by its own command, and recorded as completed in the transaction service."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

from tests.performance import child
from tests.performance.system import System

ROWS = 50_000
AGE = timedelta(days=1)
"""Older than the position of the notification service, which would catch up on them."""

_OUTCOMES = "SELECT transfer_id, source_id, destination_id FROM outcomes WHERE at >= $1 AND outcome = 'posted'"
_TABLE = "CREATE TEMPORARY TABLE posted (id uuid, source_id uuid, destination_id uuid)"
_TRANSFERS = """
INSERT INTO transfers (id, user_id, recipient_id, kind, status, amount, currency, from_wallet_id, to_wallet_id,
                       request_hash, request_id, created_at, expires_at, completed_at, finalized_at)
SELECT posted.id, source.owner_id, destination.owner_id, 'transfer', 'COMPLETED', 1, 'USD', source_id, destination_id,
       '\\x00', posted.id::text, $1, $1, $1, $1
FROM posted JOIN wallets AS source ON source.id = source_id JOIN wallets AS destination ON destination.id = destination_id
"""
_KEYS = """
INSERT INTO idempotency_keys (user_id, key, request_hash, hash_version, resource_id)
SELECT source.owner_id, posted.id::text, '\\x00', 1, posted.id FROM posted JOIN wallets AS source ON source.id = source_id
"""


async def add(system: System, *, sources: list[str], destinations: list[str], count: int) -> None:
    """Add so many completed transfers of one minor unit from and to random ones of these wallets."""
    began = datetime.now(UTC)
    job = {
        "dsn": system.postgres.dsn("wallet", "payflow_wallet"),
        "sources": sources,
        "destinations": destinations,
        "batch": 256,
        "count": count,
        "seconds": 10**9,
        "seed": 1,
        "hot": False,
    }
    async with child.started("tests.performance.ledger_core", job) as process:
        await process.go()
    wallet = await asyncpg.connect(system.postgres.dsn("wallet"))
    transaction = await asyncpg.connect(system.postgres.dsn("transaction"))
    try:
        await transaction.execute(_TABLE)
        async with wallet.transaction():
            cursor = await wallet.cursor(_OUTCOMES, began)
            while rows := await cursor.fetch(ROWS):
                records: list[tuple[UUID, ...]] = [tuple(row) for row in rows]
                await transaction.copy_records_to_table("posted", records=records)
        await transaction.execute("ANALYZE posted")
        for statement, arguments in ((_TRANSFERS, (began - AGE,)), (_KEYS, ())):
            await transaction.execute(statement, *arguments)
        await transaction.execute("VACUUM ANALYZE transfers, idempotency_keys")
        await wallet.execute("VACUUM ANALYZE outcomes, entries, accounts")
    finally:
        await wallet.close()
        await transaction.close()
