"""Retries: bounded, with jitter, and following the gateway's `Retry-After`.

Not a library: the usual ones report each retry through process-wide hooks, which print to the standard output of the program
that uses this client unless it configures them.
"""

from __future__ import annotations

import asyncio
import random
import time
from email.utils import parsedate_to_datetime

from payflow.errors import PayFlowError
from payflow.limits import Limits

BACKOFF_JITTER_MAX = 0.5
"""The most that a pause is lengthened at random, as a share of it: clients that failed together must not retry together."""

RETRY_AFTER_JITTER_SECONDS_MAX = 0.25
"""The same for a pause after a `Retry-After`, in seconds."""


class RetryPolicy:
    """The retries of one request: `pause` after each failed attempt, then send it again."""

    def __init__(self, limits: Limits) -> None:
        """Start the time for all attempts."""
        self._limits = limits
        self._ends_at = time.monotonic() + limits.retry_seconds
        self._failed = 0

    async def pause(self, error: PayFlowError) -> None:
        """Wait before the next attempt, or raise `error` if there is to be none."""
        self._failed += 1
        pause_seconds = self.pause_seconds(error)
        is_late = time.monotonic() + pause_seconds > self._ends_at
        if not error.retry_helps or self._failed >= self._limits.attempts_max or is_late:
            raise error
        await asyncio.sleep(pause_seconds)

    def pause_seconds(self, error: PayFlowError) -> float:
        """The backoff, or the `Retry-After` if that is longer; with jitter."""
        doubled = self._limits.backoff_seconds_min * 2.0 ** (self._failed - 1)
        backoff_seconds = min(doubled, self._limits.backoff_seconds_max)
        jitter = random.random()  # noqa: S311 - not a secret
        if not error.retry_after_seconds:
            return backoff_seconds * (1 + BACKOFF_JITTER_MAX * jitter)
        return max(backoff_seconds, error.retry_after_seconds) + RETRY_AFTER_JITTER_SECONDS_MAX * jitter


def reconnect_seconds(limits: Limits, failures: int, error: PayFlowError | None) -> float:
    """The pause before a stream is reopened after this many connections in a row without an event. There is no last attempt."""
    doubled = limits.backoff_seconds_min * 2.0 ** min(failures, 16)
    retry_after_seconds = (error.retry_after_seconds if error is not None else None) or 0.0
    longest = max(min(doubled, limits.backoff_seconds_max), retry_after_seconds)
    return longest * (1 + BACKOFF_JITTER_MAX * random.random())  # noqa: S311 - not a secret


def read_retry_after(value: str | None) -> float | None:
    """The seconds of a `Retry-After` header, which is a number or a date; None if there is none or it is malformed."""
    if not value:
        return None
    if value.isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - time.time())
