"""The steps of a run, in their order, and how long each is expected to take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.alerts import table
from tests.alerts.silence import KILLS, QUIET
from tests.alerts.table import Wave

MODES = (QUIET, KILLS)
FIRE_SECONDS = 100.0
CLEAR_SECONDS = 85.0
"""What a wave takes to fire, and from the end of its faults to the next step: measured, mostly Alertmanager's interval."""

START_SECONDS = 75.0
KILLS_SECONDS = 350.0
SILENCES_AFTER = 1
"""What must be silent follows the first wave, which affects no user: later waves leave alerts that fire for an hour."""


@dataclass(frozen=True, slots=True)
class Step:
    """Faults to inject together, or a mode of silence."""

    name: str
    wave: Wave
    seconds: float
    """The expected duration."""


def steps(names: Sequence[str], *, hold: float, quiet: float) -> list[Step]:
    """What proves these alerts and modes; everything without names. Held faults and the quiet time last so many seconds."""
    alerts = [name for name in names if name not in MODES]
    waves = [table.selected(wave, alerts) if alerts or not names else () for wave in table.WAVES]
    made = [_of(wave, hold) for wave in waves]
    silences = [Step(QUIET, (), quiet), Step(KILLS, (), KILLS_SECONDS)]
    made[SILENCES_AFTER:SILENCES_AFTER] = [step for step in silences if not names or step.name in names]
    return [step for step in made if step.wave or step.name in MODES]


def proves(made: Sequence[Step], alert: str) -> bool:
    """Whether one of the steps proves the alert."""
    return any(each.alert == alert for step in made for fault in step.wave for each in fault.proves)


def _of(wave: Wave, hold: float) -> Step:
    held = max((hold for fault in wave if fault.held), default=0.0)
    return Step(f"{len(wave)} {'fault' if len(wave) == 1 else 'faults'}", wave, max(held, FIRE_SECONDS) + CLEAR_SECONDS)
