"""A word for the next request: what a gateway in demo mode shall make of it on purpose."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

HEADER = "PayFlow-Simulate"


class Simulation:
    """The words that the tasks of one client have set; each is taken by one request."""

    def __init__(self) -> None:
        # A list, for a task that was started inside of the block takes the same word, not a second one.
        self._words: ContextVar[list[str]] = ContextVar("words")

    @contextlib.contextmanager
    def of(self, word: str) -> Iterator[None]:
        """Set the word for the first request inside of the block."""
        token = self._words.set([word])
        try:
            yield
        finally:
            self._words.reset(token)

    def take(self) -> dict[str, str]:
        """The header of the request that is about to be sent; empty when nothing is simulated, or no longer."""
        words = self._words.get([])
        return {HEADER: words.pop()} if words else {}
