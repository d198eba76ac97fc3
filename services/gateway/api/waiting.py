"""Long polls: each waits for its own time, all of them at most until shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from aiohttp import web

Result = TypeVar("Result")


class LongPolls:
    """The long polls in progress."""

    def __init__(self) -> None:
        self._timeouts: set[asyncio.Timeout] = set()

    async def within(self, seconds: float, result: Awaitable[Result]) -> Result | None:
        """The result, or None if it is not there in time or the gateway shuts down."""
        try:
            async with asyncio.timeout(seconds) as timeout:
                self._timeouts.add(timeout)
                try:
                    return await result
                finally:
                    self._timeouts.discard(timeout)
        except TimeoutError:
            return None

    async def end(self, _app: web.Application) -> None:
        """End all long polls; shutdown must not wait for them."""
        now = asyncio.get_running_loop().time()
        for timeout in list(self._timeouts):
            timeout.reschedule(now)


LONG_POLLS: web.AppKey[LongPolls] = web.AppKey("long_polls")
