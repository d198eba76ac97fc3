"""Waiting for what happens in its own time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

SECONDS_MAX = 20.0
POLL_SECONDS = 0.02


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """Wait until the condition holds; fail after the longest time that anything may take."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            if await condition():
                return
            await asyncio.sleep(POLL_SECONDS)
