"""Those who prefer to wait: each for as long as they like, all of them until the gateway closes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from aiohttp import web

Result = TypeVar("Result")


class Waiting:
    """Everybody who waits now."""

    def __init__(self) -> None:
        self._clocks: set[asyncio.Timeout] = set()

    async def within(self, seconds: float, answer: Awaitable[Result]) -> Result | None:
        """The answer, or None when it did not come in time or the gateway closes."""
        try:
            async with asyncio.timeout(seconds) as clock:
                self._clocks.add(clock)
                try:
                    return await answer
                finally:
                    self._clocks.discard(clock)
        except TimeoutError:
            return None

    async def end(self, _app: web.Application) -> None:
        """Nobody waits any longer: a door that closes must not keep its guests."""
        now = asyncio.get_running_loop().time()
        for clock in list(self._clocks):
            clock.reschedule(now)


WAITING: web.AppKey[Waiting] = web.AppKey("waiting")
