"""The wake-up for gateways: it names the users whose feeds have new lines. Without it gateways poll every two seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from uuid import UUID

from services.chassis import wakeup

CHANNEL = "payflow:events"

NAMES_MAX = 1000
ALL_USERS = "*"
"""Sent instead of more names."""


class FeedWakeup:
    """Publishes the ids of users with new lines, in the background. Ids that gather meanwhile are sent together next."""

    def __init__(self, url: str | None) -> None:
        self._wakeup = wakeup.Wakeup(url, CHANNEL)
        self._waiting: set[UUID] = set()
        self._sending: asyncio.Task[None] | None = None

    def notify(self, user_ids: Iterable[UUID]) -> None:
        """Wake up soon, for committed lines; never raises."""
        self._waiting.update(user_ids)
        if self._waiting and (self._sending is None or self._sending.done()):
            self._sending = asyncio.create_task(self._send())

    async def close(self) -> None:
        """Send what waits, and close the connection."""
        if self._sending is not None:
            await self._sending
        await self._wakeup.close()

    async def _send(self) -> None:
        while self._waiting:
            names, self._waiting = self._waiting, set()
            few = len(names) <= NAMES_MAX
            await self._wakeup.notify(",".join(map(str, names)) if few else ALL_USERS)
