"""Dead letters for tests: a keeper in a task of its own, and the record of one service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.chassis.database import Pool, Record
from services.chassis.dead_letter_archiver import Keeper
from services.chassis.roles import Runtime
from services.contracts.topology import Queue


@asynccontextmanager
async def keeping(pool: Pool, url: str, queue: Queue) -> AsyncIterator[Keeper]:
    """A keeper of this queue, as the role runs it."""
    runtime = Runtime(service="test", role="keeper", instance="test-keeper")
    keeper = Keeper(pool, url=url, queue=queue, runtime=runtime)
    task = asyncio.create_task(keeper.run())
    try:
        yield keeper
    finally:
        runtime.stopping.set()
        await task


async def kept(pool: Pool, count: int = 1, *, state: str = "waiting", seconds: float = 30) -> list[Record]:
    """Wait until at least `count` dead letters are in this state; return all of them, oldest first."""
    async with asyncio.timeout(seconds):
        while len(rows := await pool.fetch("SELECT * FROM dead_letters WHERE state = $1 ORDER BY id", state)) < count:
            await asyncio.sleep(0.02)
    return list(rows)
