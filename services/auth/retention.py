"""Removes sessions that ended long ago. Each pass examines a bounded number, in the order of their ids."""

from __future__ import annotations

from uuid import UUID

import structlog

from services.auth import commands
from services.chassis import retention
from services.chassis.database import Pool
from services.chassis.roles import Runtime

JOB = "session-retention"
ROWS_MAX = 1000
FIRST = UUID(int=0)

log = structlog.get_logger()


class Retention:
    """Removes what ended so many days ago. Several may run: each skips what another one has locked."""

    def __init__(self, pool: Pool, *, days: int) -> None:
        self._pool = pool
        self._days = days
        self._after = FIRST

    async def run(self, runtime: Runtime) -> None:
        """Pass by pass to the newest session, then again from the oldest, until the role stops."""
        await retention.run(runtime, JOB, self.remove)

    async def remove(self) -> bool:
        """One pass; whether there are more sessions to examine.

        Raises:
            DatabaseUnavailable, LockTimeout: nothing was removed, or it is unknown; the next pass examines the same sessions.
        """
        ended = await commands.sessions.remove_ended(self._pool, after=self._after, days=self._days, limit=ROWS_MAX)
        self._after = ended.last_id or FIRST
        if ended.ids:
            log.info("ended_sessions_removed", sessions=len(ended.ids))
        return ended.last_id is not None
