"""Reads on a standby within a stated lag; beyond it, and while the standby does not respond, on the primary.

The position of the primary's log is read twice a second. A read at some moment uses the standby only if that has replayed a
position which the primary had reached at most the allowed lag before. So what it returns is at most so old, whatever the clocks
of the servers show, and also while the standby is paused, cut off, or replaced by another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import structlog
from prometheus_client import Counter, Gauge

from services.chassis import database
from services.chassis.database import Connection, DatabaseUnavailable, LockTimeout, Pool
from services.chassis.statements import Statements

POLL_SECONDS = 0.5
STANDBY_SECONDS = 1.0
"""For one read on the standby. After it the primary has the rest of the time of the request."""

LAG = Gauge(
    "payflow_replica_lag_seconds",
    "For how long the standby that serves statements has not replayed what the primary has. Without a standby 0.",
)
READS = Counter(
    "payflow_statement_reads_total",
    "Reads of statements, by the server that served them: standby or primary.",
    ["server"],
)

log = structlog.get_logger()

statements = Statements(Path(__file__).parent / "sql" / "queries_replica.sql")

Result = TypeVar("Result")
Query = Callable[[Connection], Awaitable[Result]]

FAILURES = (DatabaseUnavailable, LockTimeout, TimeoutError)
"""A read on the standby that failed; it may also be cancelled because it conflicts with the replay."""


class Behind(Exception):  # noqa: N818 - reads as what it is
    """The standby has not replayed what a read needs."""


async def read_position(primary: Pool) -> int:
    """The position of the primary's log now, in bytes: what is visible now is before it."""
    async with database.connection(primary) as connection:
        position: int = await connection.fetchval(statements.read_flushed_position)
    return position


class Reader:
    """Reads in one snapshot: of the standby if it is there and near enough, else of the primary."""

    def __init__(self, primary: Pool, standby: Pool | None = None, *, lag_seconds_max: float = 0.0) -> None:
        """Without a standby every read is on the primary."""
        self.primary = primary
        self._standby = standby
        self._lag_seconds_max = lag_seconds_max
        self._positions: deque[tuple[float, int]] = deque()
        """Moments, and positions that the primary had reached by then; oldest first."""
        self._usable = False

    async def read(self, query: Query[Result], *, at_least: int = 0, is_complete: Query[bool] | None = None) -> Result:
        """The result of a query, which may run twice.

        The standby is used only if it has replayed the position `at_least`, and if `is_complete` holds in the same snapshot.
        """
        needed = self._needed()
        if self._standby is not None and needed is not None:
            try:
                async with asyncio.timeout(STANDBY_SECONDS):
                    result = await self._read_standby(query, max(needed, at_least), is_complete=is_complete)
            except Behind:
                pass
            except FAILURES as error:
                self._set_usable(usable=False, error=error)
            else:
                READS.labels("standby").inc()
                return result
        READS.labels("primary").inc()
        async with database.snapshot(self.primary) as connection:
            return await query(connection)

    async def watch(self) -> None:
        """Follow the positions of both servers until cancelled."""
        while True:
            await self.check()
            await asyncio.sleep(POLL_SECONDS)

    async def check(self) -> None:
        """Read the position of the primary and that of the standby, once."""
        moment = time.monotonic()
        # Without a new position the standby is soon no longer used.
        with contextlib.suppress(*FAILURES):
            self._positions.append((moment, await read_position(self.primary)))
        assert self._standby is not None, "there is something to follow"
        try:
            async with asyncio.timeout(STANDBY_SECONDS), database.connection(self._standby) as connection:
                replayed = await connection.fetchval(statements.read_replayed_position)
        except FAILURES as error:
            self._set_usable(usable=False, error=error)
        else:
            self._set_usable(usable=replayed is not None)
            self._measure(replayed or 0)

    async def _read_standby(self, query: Query[Result], needed: int, *, is_complete: Query[bool] | None) -> Result:
        assert self._standby is not None, "there is one to read on"
        async with database.connection(self._standby) as connection:
            # Before the snapshot is taken: the replay continues, so a later look would promise too much.
            replayed = await connection.fetchval(statements.read_replayed_position)
            if replayed is None or replayed < needed:
                raise Behind
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                if is_complete is not None and not await is_complete(connection):
                    raise Behind
                return await query(connection)

    def _needed(self) -> int | None:
        """The first position of the primary that is recent enough; None if there is none, or no standby to use."""
        earliest = time.monotonic() - self._lag_seconds_max
        while self._positions and self._positions[0][0] < earliest:
            self._positions.popleft()
        return self._positions[0][1] if self._usable and self._positions else None

    def _measure(self, replayed: int) -> None:
        """Export for how long the standby has not replayed what the primary has; 0 if it has replayed the last position read."""
        missing = next((moment for moment, position in self._positions if position > replayed), None)
        LAG.set(0.0 if missing is None else time.monotonic() - missing)

    def _set_usable(self, *, usable: bool, error: Exception | None = None) -> None:
        if usable != self._usable:
            log.info("standby_reads_resumed") if usable else log.warning("standby_reads_stopped", error=repr(error))
        self._usable = usable
