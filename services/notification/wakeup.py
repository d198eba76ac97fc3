"""The wakeup that tells gateways whose feeds have new lines. They look every two seconds anyway."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from uuid import UUID

from services.chassis import wakeup

CHANNEL = "payflow:events"

NAMES_MAX = 1000
EVERYBODY = "*"
"""Rung instead of more names than that."""


class FeedWakeup:
    """Rings with the names of those concerned. Nobody waits for it: what gathers while it notifies is rung together, next."""

    def __init__(self, url: str | None) -> None:
        self._wakeup = wakeup.Wakeup(url, CHANNEL)
        self._waiting: set[UUID] = set()
        self._flight: asyncio.Task[None] | None = None

    def notify(self, user_ids: Iterable[UUID]) -> None:
        """Ring soon, for what is committed; never raises."""
        self._waiting.update(user_ids)
        if self._waiting and (self._flight is None or self._flight.done()):
            self._flight = asyncio.create_task(self._fly())

    async def close(self) -> None:
        """Ring what waits, and close the connection."""
        if self._flight is not None:
            await self._flight
        await self._wakeup.close()

    async def _fly(self) -> None:
        while self._waiting:
            names, self._waiting = self._waiting, set()
            few = len(names) <= NAMES_MAX
            await self._wakeup.notify(",".join(map(str, names)) if few else EVERYBODY)
