"""Sessions that wait for locks in a test database."""

from __future__ import annotations

import asyncio

from services.chassis.database import Pool

PATIENT = {"lock_timeout": "30s"}
"""For pools whose waits must end by the test's actions, not by a timeout."""


async def waiting_count(pool: Pool) -> int:
    """How many sessions of the pool's role wait for a lock in its database."""
    return await pool.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )


async def until_waiting(pool: Pool, count: int, *, seconds: float = 10) -> None:
    """Wait until this many sessions wait for a lock."""
    async with asyncio.timeout(seconds):
        while await waiting_count(pool) < count:
            await asyncio.sleep(0.005)
