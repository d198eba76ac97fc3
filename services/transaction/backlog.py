"""The work ahead: how long a new transfer probably takes; while it takes too long, new requests are refused."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from services.chassis.database import LockTimeout, Pool
from services.contracts.refusal import Unavailable
from services.contracts.refusals.transaction import Busy
from services.transaction import commands_heartbeats, expectation
from services.transaction.steps import MONITOR, SILENT_SECONDS

POLL_SECONDS = 1.0
PENDING_MIN = 1000
"""With fewer pending transfers nothing is refused: after an idle time the measured rate means nothing."""

RETRY_AFTER_SECONDS_MAX = 60


class Backlog:
    """Reads the figures of the monitor every second."""

    def __init__(self, pool: Pool, *, seconds_max: float) -> None:
        self._pool = pool
        self._seconds_max = seconds_max
        self.refusal: Busy | None = None
        """The refusal for new requests; None: they are accepted."""
        self.expected_seconds: float | None = None
        """How long a new transfer takes, probably; None: unknown."""

    async def run(self) -> None:
        """Poll the backlog. While the database is unavailable, accept everything."""
        while True:
            try:
                heartbeats = await commands_heartbeats.list_heartbeats(self._pool)
                self.refusal = evaluate(heartbeats, seconds_max=self._seconds_max)
                self.expected_seconds = expectation.expect_seconds(heartbeats)
            except (Unavailable, LockTimeout):
                self.refusal = self.expected_seconds = None
            await asyncio.sleep(POLL_SECONDS)


def evaluate(heartbeats: Mapping[str, Mapping[str, Any]], *, seconds_max: float) -> Busy | None:
    """The refusal when the work ahead takes longer than `seconds_max` at the measured rate.

    An unavailable broker alone refuses nothing: no rate can be measured, and accepted transfers are safe.
    """
    monitor = heartbeats.get(MONITOR)
    if monitor is None or monitor["age_seconds"] > SILENT_SECONDS or monitor["depths"] is None:
        return None
    pending, drain = int(monitor["transfers"]), float(monitor["drain_per_s"])
    if pending < PENDING_MIN or drain <= 0 or pending / drain <= seconds_max:
        return None
    seconds = min(RETRY_AFTER_SECONDS_MAX, int(pending / drain - seconds_max) + 1)
    return Busy("there is more work ahead than can be done in time", retry_after_seconds=seconds)
