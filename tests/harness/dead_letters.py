"""Dead letters for tests: an archiver in its own task, and the stored rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.chassis.database import Pool, Record
from services.chassis.dead_letter_archiver import Archiver
from services.chassis.roles import Runtime
from services.contracts.topology import Queue


@asynccontextmanager
async def archiving(pool: Pool, url: str, queue: Queue) -> AsyncIterator[Archiver]:
    """Run an archiver of this queue, as a role does."""
    runtime = Runtime(service="test", role="archiver", instance="test-archiver")
    archiver = Archiver(pool, url=url, queue=queue, runtime=runtime)
    task = asyncio.create_task(archiver.run())
    try:
        yield archiver
    finally:
        runtime.stopping.set()
        await task


async def archived(pool: Pool, count: int = 1, *, state: str = "waiting", seconds: float = 30) -> list[Record]:
    """Wait until at least `count` dead letters are in this state; return all of them, oldest first."""
    async with asyncio.timeout(seconds):
        while len(rows := await pool.fetch("SELECT * FROM dead_letters WHERE state = $1 ORDER BY id", state)) < count:
            await asyncio.sleep(0.02)
    return list(rows)
