"""The bank test: during the faults, sum the whole ledger in one snapshot, several times a second."""

from __future__ import annotations

import asyncio

import asyncpg

from tests.chaos.history import History

PAUSE_SECONDS = 0.2
UNAVAILABLE = (
    OSError,
    TimeoutError,
    RuntimeError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

_SNAPSHOT = """
SELECT currency, sum(posted)::bigint AS total, count(*) FILTER (WHERE owner_id IS NOT NULL AND posted < held) AS overdrawn
FROM accounts GROUP BY currency
"""


async def watch(dsn: str, history: History) -> None:
    """Read until cancelled; a sum other than zero or an overdrawn wallet is a contradiction."""
    while True:
        try:
            connection = await asyncpg.connect(dsn, timeout=3)
            try:
                while True:
                    _check(await connection.fetch(_SNAPSHOT, timeout=3), history)
                    await asyncio.sleep(PAUSE_SECONDS)
            finally:
                connection.terminate()
        except UNAVAILABLE:
            await asyncio.sleep(PAUSE_SECONDS)


def _check(rows: list[asyncpg.Record], history: History) -> None:
    history.snapshots += 1
    for row in rows:
        if row["total"] != 0:
            history.add_contradiction(f"snapshot {history.snapshots}: {row['currency']} sums to {row['total']}")
        if row["overdrawn"]:
            history.add_contradiction(f"snapshot {history.snapshots}: {row['overdrawn']} wallets are overdrawn")
