"""What must not be notified: a quiet time under normal load, and kills that are healed within two seconds."""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass

from tests.alerts.proof import Show, unexpected
from tests.alerts.rig import Rig
from tests.chaos.system import ENGINES

QUIET = "quiet"
KILLS = "kills"
MODES = (QUIET, KILLS)

QUIET_SECONDS = 600.0
SHOWN_EVERY_SECONDS = 60.0
AFTER_KILL_SECONDS = 3.0
AFTER_KILLS_SECONDS = 120.0
"""Longer than the `for` of an alert about a process, plus the wait of Alertmanager."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Alerts that were notified when none should be."""

    what: str
    seconds: float
    notified: list[str]


async def quiet(rig: Rig, show: Show) -> Silence:
    """Ten minutes under normal load, with the real rules."""
    began = time.monotonic()
    while (gone := time.monotonic() - began) < QUIET_SECONDS:
        await asyncio.sleep(min(SHOWN_EVERY_SECONDS, QUIET_SECONDS - gone))
        show(
            f"quiet for {time.monotonic() - began:.0f} s, notified: {', '.join(unexpected(rig, since=began)) or 'none'}"
        )
    return Silence("ten quiet minutes", QUIET_SECONDS, unexpected(rig, since=began))


async def kills(rig: Rig, show: Show) -> Silence:
    """Every process and engine killed once, one after another; the supervisor restarts each at once."""
    began = time.monotonic()
    for name in [*rig.system.processes, *ENGINES]:
        rig.system.send(rig.system.pids(name), signal.SIGKILL)
        healed = await rig.system.healed(name)
        show(f"killed    {name}, ready after {'a long time' if healed is None else f'{healed:.1f} s'}")
        await asyncio.sleep(AFTER_KILL_SECONDS)
    await asyncio.sleep(AFTER_KILLS_SECONDS)
    return Silence("kills healed at once", time.monotonic() - began, unexpected(rig, since=began))
