"""Final moments: a moment is final when no open transaction can still commit a row dated at or before it.

A row is dated by the clock of the database inside the transaction that writes it, and becomes visible when that transaction
commits, which may be later. A reader at a recent moment would miss such a row, and a second reader of the same moment would
see it. So a reader waits until the moment is final.

The horizon is the start of the oldest open transaction of the service, read in a separate statement before the snapshot.
A transaction that this statement does not see begins later, and dates its rows later; one that ended before it is visible in
every later snapshot. A commit that waits for a replica counts as open. This requires rows that are dated inside an explicit
transaction (not by the first statement of an implicit one), sessions of the same role, and a server clock that is not set back.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from services.chassis import database
from services.chassis.database import Pool
from services.chassis.statements import Statements
from services.contracts.messages import format_time
from services.contracts.refusal import Refusal

WAIT_SECONDS = 2.0
"""How long a reader waits for a moment to become final; the gateway's call has 8 s."""

PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 0.005, 0.1
"""Between two readings of the horizon; the pause doubles."""

TICK = timedelta(microseconds=1)
"""The resolution of times in the database."""

statements = Statements(Path(__file__).parent / "sql" / "queries_finality.sql")


class MomentNotFinal(Refusal):
    """The figures at this time are not final yet: a transfer is still being posted."""

    status = 409
    code = "moment_not_final"
    retry_helps = True

    def __init__(self, final_before: datetime) -> None:
        """`final_before`: figures of earlier moments are final."""
        super().__init__(
            f"{self.title()} Send the request again after Retry-After, or request a time before `final_before`.",
            headers={"Retry-After": "1"},
            extra={"final_before": format_time(final_before)},
        )


class Horizon(NamedTuple):
    """The clock of the database, and the moment before which everything is final."""

    now: datetime
    final_before: datetime


async def read_horizon(pool: Pool) -> Horizon:
    """Read the horizon. A snapshot is complete up to `final_before` only if it is taken afterwards."""
    async with database.connection(pool) as connection:
        row = await connection.fetchrow(statements.read_horizon)
    assert row is not None, "an aggregate always has a row"
    return Horizon(*row)


async def wait_for_moment(pool: Pool, moment: datetime | None) -> datetime:
    """Wait until a moment is final; return it. None, or a moment in the future: now, by the clock of the database.

    Raises:
        MomentNotFinal: an open transaction may still write before it, for longer than `WAIT_SECONDS`.
    """
    horizon = await read_horizon(pool)
    last = horizon.now - TICK
    found = last if moment is None or moment > last else moment
    await _wait(pool, horizon, found + TICK)
    return found


async def wait_for_period(pool: Pool, until: datetime) -> None:
    """Wait until everything before `until` is final, unless the period ends after the longest possible wait.

    Raises:
        MomentNotFinal: as `wait_for_moment`.
    """
    horizon = await read_horizon(pool)
    if until <= horizon.now + timedelta(seconds=WAIT_SECONDS):
        await _wait(pool, horizon, until)


async def _wait(pool: Pool, horizon: Horizon, before: datetime) -> None:
    deadline, pause_seconds = time.monotonic() + WAIT_SECONDS, PAUSE_SECONDS_MIN
    while horizon.final_before < before:
        if time.monotonic() >= deadline:
            raise MomentNotFinal(horizon.final_before)
        await asyncio.sleep(pause_seconds)
        pause_seconds = min(2 * pause_seconds, PAUSE_SECONDS_MAX)
        horizon = await read_horizon(pool)
