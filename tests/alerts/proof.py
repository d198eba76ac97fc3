"""Prove alerts: inject a fault, wait for the notification, heal, wait until it is resolved."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.alerts.notifications import RESOLVED, WATCHDOG, Expected
from tests.alerts.rig import Rig
from tests.alerts.table import Fault

FIRES_SECONDS_MAX = 120.0
CLEARS_SECONDS_MAX = 300.0
PATIENCE = 1.5
"""What does not fire within its limit is waited for that much longer, so that its figure is known."""

QUIET_SECONDS_MAX = 300.0

END_SECONDS_MAX = 90.0
"""Alertmanager notifies the end of an alert within a minute, or never: if another alert inhibited it meanwhile."""

Show = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Result:
    """How long one alert took, from the moment at which the fault was in place or healed; None: it did not arrive."""

    alert: str
    labels: dict[str, str]
    fault: str
    fired_seconds: float | None
    cleared_seconds: float | None
    fired_before: bool
    """It was firing already when the fault was injected: then nothing is proven."""
    held_seconds: float
    """How long the fault was in place."""
    ended_early: bool = False
    """It ended while its fault was held."""
    error: str = ""

    @property
    def proven(self) -> bool:
        """Whether it fired because of the fault, and both within their limits."""
        return (
            not self.fired_before
            and not self.ended_early
            and not self.error
            and (self.fired_seconds or FIRES_SECONDS_MAX + 1) <= FIRES_SECONDS_MAX
            and (self.cleared_seconds if self.cleared_seconds is not None else CLEARS_SECONDS_MAX + 1)
            <= CLEARS_SECONDS_MAX
        )


@dataclass(slots=True)
class _Run:
    """What became of one fault."""

    fired: Sequence[float | None]
    ended_early: Sequence[bool]
    held_seconds: float = 0.0
    error: str = ""


async def prove(rig: Rig, fault: Fault, show: Show, *, hold: float) -> list[Result]:
    """Prove the alerts of one fault, held for `hold` seconds if it is one to be held; an error is their result."""
    before = [rig.notifications.is_open(expected) for expected in fault.proves]
    run = await _inject(rig, fault, show, hold=hold if fault.held else 0.0)
    healed = time.monotonic()
    caused = {str(expected) for expected, seconds in zip(fault.proves, run.fired, strict=True) if seconds is not None}
    cleared = await _all(fault, lambda each: _cleared(rig, each, healed, show) if str(each) in caused else _nothing())
    return [
        Result(
            expected.alert,
            dict(expected.labels),
            fault.what,
            fired_seconds=run.fired[number],
            cleared_seconds=cleared[number],
            fired_before=before[number],
            held_seconds=run.held_seconds,
            ended_early=run.ended_early[number],
            error=run.error,
        )
        for number, expected in enumerate(fault.proves)
    ]


async def _inject(rig: Rig, fault: Fault, show: Show, *, hold: float) -> _Run:
    """Inject a fault, wait for its alerts, and heal it."""
    run = _Run([None] * len(fault.proves), [False] * len(fault.proves))
    began = time.monotonic()
    try:
        async with fault.inject(rig):
            show(f"injected  {fault.what}")
            placed = time.monotonic() - began
            fired = await _all(fault, lambda each: _fired(rig, each, began, show))
            run.fired = [None if seconds is None else max(0.0, seconds - placed) for seconds in fired]
            await asyncio.sleep(began + placed + hold - time.monotonic())
            run.held_seconds = time.monotonic() - began - placed
            run.ended_early = [hold > 0 and not rig.notifications.is_open(expected) for expected in fault.proves]
    except Exception as failure:  # noqa: BLE001 - the others of the wave go on
        run.error = f"{type(failure).__name__}: {failure}"
        show(f"failed    {fault.what}: {run.error}")
    return run


async def until_quiet(rig: Rig, show: Show) -> None:
    """Wait until no alert is open, nor firing before its notification; go on after a while."""
    began = time.monotonic()
    while open_alerts := sorted({*unexpected(rig), *await rig.firing()} - {*OF_OTHERS, WATCHDOG}):
        waited = time.monotonic() - began
        if waited > QUIET_SECONDS_MAX:
            show(f"still firing: {', '.join(open_alerts)}")
            return
        if waited > END_SECONDS_MAX:
            rig.notifications.end(all_but=await rig.firing())
        await asyncio.sleep(1)


def unexpected(rig: Rig, *, since: float = 0.0) -> list[str]:
    """The alerts that are firing, or were notified after `since`."""
    seen = (
        [each for each in rig.notifications.received if each.at >= since and each.status != RESOLVED] if since else []
    )
    return sorted({each.alert for each in [*rig.notifications.open(), *seen]})


OF_OTHERS = frozenset({"HostCpuHigh"})
"""Other programs of the machine may cause it: it is not waited for, and proves nothing then."""


async def _all(fault: Fault, wait: Callable[[Expected], Any]) -> list[float | None]:
    return list(await asyncio.gather(*(wait(each) for each in fault.proves)))


async def _fired(rig: Rig, expected: Expected, since: float, show: Show) -> float | None:
    seconds = await rig.notifications.fired(expected, since=since, seconds_max=PATIENCE * FIRES_SECONDS_MAX)
    show(f"fired     {expected} after {seconds:.0f} s" if seconds is not None else f"NOT FIRED {expected}")
    return seconds


async def _cleared(rig: Rig, expected: Expected, since: float, show: Show) -> float | None:
    seconds = await rig.notifications.resolved(expected, since=since, seconds_max=CLEARS_SECONDS_MAX)
    show(f"resolved  {expected} after {seconds:.0f} s" if seconds is not None else f"NOT RESOLVED {expected}")
    return seconds


async def _nothing() -> None:
    """What did not fire has no end."""
