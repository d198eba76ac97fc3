"""Deadlines of many waiters by one timer: a timer for each would cost as much as the rest of a short request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Deadlines(Generic[Result]):
    """Futures, each of which ends with an error if it is not done after so many seconds."""

    def __init__(self, seconds: float, error: Callable[[], Exception]) -> None:
        self._seconds = seconds
        self._error = error
        self._started: dict[asyncio.Future[Result], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """The number of open futures."""
        return len(self._started)

    @property
    def longest_wait(self) -> float:
        """The seconds since the oldest future was opened; there must be one."""
        return time.monotonic() - next(iter(self._started.values()))

    def open(self) -> asyncio.Future[Result]:
        """A new future. Its caller must call `close`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._started[future] = time.monotonic()
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._end_late)
        return future

    def close(self, future: asyncio.Future[Result]) -> None:
        """Stop watching a future."""
        del self._started[future]

    def _end_late(self) -> None:
        self._timer = None
        for future, started in self._started.items():
            left = started + self._seconds - time.monotonic()
            if left > 0:
                self._timer = asyncio.get_running_loop().call_later(left, self._end_late)
                return
            if not future.done():
                future.set_exception(self._error())
