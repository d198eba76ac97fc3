"""When a request is worth sending again, and how long to wait before: bounded, with jitter, at the gateway's word.

A loop of our own: the usual libraries report each retry through hooks of the whole process, and unless these are set up that
means lines on the standard output of whoever uses this client.
"""

from __future__ import annotations

import asyncio
import random
import time
from email.utils import parsedate_to_datetime

from payflow.errors import PayFlowError
from payflow.limits import Limits

BACKOFF_STRETCH_MAX = 0.5
"""By how much of itself a pause is stretched at random: clients that failed together must not come back together."""

RETRY_AFTER_STRETCH_SECONDS_MAX = 0.25
"""The same for a pause that the gateway asked for."""


class Patience:
    """The retries of one request: `pause` after each failed attempt, then send it again."""

    def __init__(self, limits: Limits) -> None:
        """The time for all attempts runs from now."""
        self._limits = limits
        self._ends_at = time.monotonic() + limits.retry_seconds
        self._failed = 0

    async def pause(self, error: PayFlowError) -> None:
        """Wait until the next attempt. Raises `error` itself when there is to be none."""
        self._failed += 1
        pause_seconds = self.pause_seconds(error)
        is_late = time.monotonic() + pause_seconds > self._ends_at
        if not error.retry_helps or self._failed >= self._limits.attempts_max or is_late:
            raise error
        await asyncio.sleep(pause_seconds)

    def pause_seconds(self, error: PayFlowError) -> float:
        """The backoff, or what the gateway asked for if that is longer. Stretched a little at random."""
        doubled = self._limits.backoff_seconds_min * 2.0 ** (self._failed - 1)
        backoff_seconds = min(doubled, self._limits.backoff_seconds_max)
        stretch = random.random()  # noqa: S311 - not a secret
        if not error.retry_after_seconds:
            return backoff_seconds * (1 + BACKOFF_STRETCH_MAX * stretch)
        return max(backoff_seconds, error.retry_after_seconds) + RETRY_AFTER_STRETCH_SECONDS_MAX * stretch


def reconnect_seconds(limits: Limits, failures: int, error: PayFlowError | None) -> float:
    """How long to wait before a stream is opened again; `failures` times it told nothing. There is no last try."""
    doubled = limits.backoff_seconds_min * 2.0 ** min(failures, 16)
    asked_seconds = (error.retry_after_seconds if error is not None else None) or 0.0
    longest = max(min(doubled, limits.backoff_seconds_max), asked_seconds)
    return longest * (1 + BACKOFF_STRETCH_MAX * random.random())  # noqa: S311 - not a secret


def read_retry_after(value: str | None) -> float | None:
    """The seconds that a `Retry-After` header asks for, written as a number or as a date; None when it says nothing."""
    if not value:
        return None
    if value.isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - time.time())
