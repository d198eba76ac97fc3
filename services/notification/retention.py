"""Removes notifications, inbox rows and lines of feeds that have expired: a bounded number of rows in each pass."""

from __future__ import annotations

import structlog

from services.chassis import retention
from services.chassis.database import Pool
from services.chassis.roles import Runtime
from services.notification import commands_retention

JOB = "notification-retention"
ROWS_MAX = 5000
"""How many rows of each table a pass removes: faster than transfers add them, and short enough to hold no lock for long."""

log = structlog.get_logger()


class Retention:
    """Removes what is older than so many days. Several may run."""

    def __init__(self, pool: Pool, *, days: int, event_days: int) -> None:
        """`days` are those of notifications and inbox rows."""
        self._pool = pool
        self._days = days
        self._event_days = event_days

    async def run(self, runtime: Runtime) -> None:
        """Pass by pass until the role stops."""
        await retention.run(runtime, JOB, self.remove)

    async def remove(self) -> bool:
        """One pass; whether there may be more.

        Raises:
            DatabaseUnavailable, LockTimeout: nothing was removed, or it is unknown; the next pass continues.
        """
        cutoffs = await commands_retention.find_cutoffs(
            self._pool, notification_days=self._days, event_days=self._event_days
        )
        removed = await commands_retention.remove_expired(self._pool, cutoffs, limit=ROWS_MAX)
        if any(removed):
            log.info("expired_removed", **removed._asdict())
        return max(removed) == ROWS_MAX
