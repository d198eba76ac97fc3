"""Removes notifications, inbox rows and lines of feeds that have expired: a bounded number of rows in each pass."""

from __future__ import annotations

import structlog

from services.chassis.database import DatabaseUnavailable, LockTimeout, Pool
from services.chassis.roles import Runtime
from services.notification import commands_retention

EVERY_SECONDS = 60.0
MORE_SECONDS = 1.0
"""The pause after a pass that found more than it may remove."""

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
        """A pass every minute until the role stops, and every second while there is more."""
        while not runtime.stopping.is_set():
            more = False
            try:
                more = await self.remove()
            except (DatabaseUnavailable, LockTimeout) as error:
                log.debug("retention_delayed", reason=str(error))
            except Exception:
                # Consuming messages goes on; the next pass finds the same rows.
                log.exception("retention_failed")
            await runtime.pause(MORE_SECONDS if more else EVERY_SECONDS)

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
