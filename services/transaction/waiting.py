"""Requests that wait for an outcome: one query for all of them, polled only while a request waits."""

from __future__ import annotations

import asyncio
from uuid import UUID

from services.chassis.database import LockTimeout, Pool
from services.contracts.refusal import Unavailable
from services.transaction import commands

POLL_SECONDS = 0.02


class Waiting:
    """Lets any number of requests wait for their transfers at the cost of one query per poll."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._events: dict[UUID, asyncio.Event] = {}
        self._waiters: dict[UUID, int] = {}
        self._polling: asyncio.Task[None] | None = None

    async def until_terminal(self, transfer_id: UUID, seconds: float) -> bool:
        """Wait until the transfer has its outcome, replicated, at most `seconds`; returns whether it has."""
        event = self._events.setdefault(transfer_id, asyncio.Event())
        self._waiters[transfer_id] = self._waiters.get(transfer_id, 0) + 1
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll())
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return False
        finally:
            self._waiters[transfer_id] -= 1
            if not self._waiters[transfer_id]:
                del self._waiters[transfer_id], self._events[transfer_id]
        return True

    async def _poll(self) -> None:
        while self._events:
            try:
                for transfer_id in await commands.list_terminal(self._pool, list(self._events)):
                    if transfer_id in self._events:
                        self._events[transfer_id].set()
            except (Unavailable, LockTimeout):
                pass  # The next poll may succeed; each request has its own deadline.
            await asyncio.sleep(POLL_SECONDS)
