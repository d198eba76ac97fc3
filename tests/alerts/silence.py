"""What must not be notified: a quiet time under normal load, and kills that are healed within two seconds."""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass

from deploy.local.roles import CANARY
from tests.alerts.proof import Show, unexpected
from tests.alerts.rig import Rig
from tests.chaos.system import ENGINES, HEAL_SECONDS_MAX

QUIET = "quiet"
KILLS = "kills"

SHOWN_EVERY_SECONDS = 60.0
POLL_SECONDS = 0.05
AFTER_KILL_SECONDS = 12.0
"""Each is a short fault of its own: together they would be a long one."""

AFTER_KILLS_SECONDS = 120.0
"""Longer than the `for` of an alert about a process, plus the wait of Alertmanager."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Alerts that were notified when none should be."""

    what: str
    seconds: float
    notified: list[str]
    slowest: float = 0.0
    """Seconds until the slowest process was ready again."""


async def quiet(rig: Rig, show: Show, *, seconds: float) -> Silence:
    """So many seconds under normal load, with the real rules."""
    began = time.monotonic()
    while (gone := time.monotonic() - began) < seconds:
        await asyncio.sleep(min(SHOWN_EVERY_SECONDS, seconds - gone))
        show(
            f"quiet for {time.monotonic() - began:.0f} s, notified: {', '.join(unexpected(rig, since=began)) or 'none'}"
        )
    return Silence("quiet time", seconds, unexpected(rig, since=began))


async def kills(rig: Rig, show: Show) -> Silence:
    """Every process and engine killed once, one after another; the supervisor restarts each at once."""
    began = time.monotonic()
    slowest = 0.0
    for name in [*rig.system.processes, CANARY.name, *ENGINES]:
        killed = rig.system.pids(name)
        rig.system.send(killed, signal.SIGKILL)
        healed = await _healed(rig, name, killed)
        slowest = max(slowest, healed)
        show(f"killed    {name}, ready after {healed:.1f} s")
        await asyncio.sleep(AFTER_KILL_SECONDS)
    await asyncio.sleep(AFTER_KILLS_SECONDS)
    return Silence("kills healed at once", time.monotonic() - began, unexpected(rig, since=began), slowest)


async def _healed(rig: Rig, name: str, killed: list[int]) -> float:
    """Seconds until another process is ready in its place.

    Raises:
        TimeoutError: it was not ready in time.
    """
    began = time.monotonic()
    async with asyncio.timeout(HEAL_SECONDS_MAX):
        while not rig.system.pids(name) or set(killed) & set(rig.system.pids(name)):
            await asyncio.sleep(POLL_SECONDS)
        while await rig.system.healed(name) is None:
            pass
    return time.monotonic() - began
