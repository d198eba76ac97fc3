"""Whether there is more work ahead than can be done in time; then new requests are refused early, and told when to return."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from services.chassis.database import LockTimeout, Pool
from services.contracts.refusal import Unavailable
from services.contracts.refusals.transaction import Busy
from services.transaction import commands
from services.transaction.steps import MONITOR, SILENT_SECONDS

LOOK_SECONDS = 1.0
PENDING_MIN = 1000
"""Below this nobody is refused: the rate of a system that was idle a moment ago means nothing."""

RETRY_AFTER_SECONDS_MAX = 60


class Backlog:
    """What the monitor last said about the work ahead, looked up every second."""

    def __init__(self, pool: Pool, *, seconds_max: float) -> None:
        self._pool = pool
        self._seconds_max = seconds_max
        self.refusal: Busy | None = None
        """What new requests are told; None: they are welcome."""

    async def watch(self) -> None:
        """Look for ever; while the database is away nothing is known, and nobody refused for it."""
        while True:
            try:
                self.refusal = judge(await commands.list_heartbeats(self._pool), seconds_max=self._seconds_max)
            except (Unavailable, LockTimeout):
                self.refusal = None
            await asyncio.sleep(LOOK_SECONDS)


def judge(heartbeats: Mapping[str, Mapping[str, Any]], *, seconds_max: float) -> Busy | None:
    """Refuse when the work ahead takes longer than `seconds_max` at the measured rate.

    A broker outage alone never refuses: there is no rate to measure, and what is accepted is safe.
    """
    monitor = heartbeats.get(MONITOR)
    if monitor is None or monitor["age_seconds"] > SILENT_SECONDS or monitor["depths"] is None:
        return None
    pending, drain = int(monitor["transfers"]), float(monitor["drain_per_s"])
    if pending < PENDING_MIN or drain <= 0 or pending / drain <= seconds_max:
        return None
    seconds = min(RETRY_AFTER_SECONDS_MAX, int(pending / drain - seconds_max) + 1)
    return Busy("there is more work ahead than can be done in time", retry_after_seconds=seconds)
