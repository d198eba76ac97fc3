"""Simulated failures: a header that makes a gateway in demo mode fail the next request on purpose."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

HEADER = "PayFlow-Simulate"


class Simulation:
    """The failures requested by the tasks of one client; each is used for one request."""

    def __init__(self) -> None:
        # A list: a task that was started inside of the block shares the failure, it does not get a second one.
        self._failures: ContextVar[list[str]] = ContextVar("failures")

    @contextlib.contextmanager
    def of(self, failure: str) -> Iterator[None]:
        """Request a failure of the first request inside of the block."""
        token = self._failures.set([failure])
        try:
            yield
        finally:
            self._failures.reset(token)

    def take(self) -> dict[str, str]:
        """The header of the next request; empty if no failure is requested, or it was used already."""
        failures = self._failures.get([])
        return {HEADER: failures.pop()} if failures else {}
