"""The reversal as a job that is started each minute: no gap between two passes is too long."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, cast

import pytest

from deploy import facts
from services.chassis.roles import Runtime
from services.transaction import commands_heartbeats, reversal

EVERY = facts.PERIODS.reversal_every
START_EVERY = 60.0
"""Each minute, the shortest period of a CronJob; a job runs as long."""


@dataclass
class Clock:
    """The time of one job, and when its passes began."""

    now: float
    passes: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now


class VirtualRuntime(Runtime):
    """A role whose pauses advance the clock."""

    clock: Clock

    async def pause(self, seconds: float) -> None:
        self.clock.now += max(seconds, 0.0)


async def run_job(monkeypatch: pytest.MonkeyPatch, *, started: float, pass_seconds: float) -> list[float]:
    """Run the role itself from a time on, with passes of this length: when its passes began."""
    clock = Clock(started)
    runtime = VirtualRuntime(service="transaction", role="reversal", instance="test")
    object.__setattr__(runtime, "clock", clock)

    async def sweep(*_: Any) -> int:
        clock.passes.append(clock.now)
        clock.now += pass_seconds
        return 0

    async def record_heartbeat(*_: Any) -> None:
        pass

    monkeypatch.setattr(reversal, "time", clock)
    monkeypatch.setattr(reversal, "sweep", sweep)
    monkeypatch.setattr(commands_heartbeats, "record_heartbeat", record_heartbeat)
    nothing = cast("Any", None)
    await reversal.run(nothing, nothing, runtime, every_seconds=EVERY, seconds_max=START_EVERY)
    return clock.passes


@pytest.mark.parametrize("seed", range(5))
async def test_successive_jobs_leave_no_long_gap(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Started each minute and up to 10 s late, with passes of up to 5 s: never more than 10 s from one pass to the next."""
    chance = random.Random(seed)
    gap_max = facts.PERIODS.reversal_gap_max
    passes: list[float] = []
    for number in range(30):
        started = number * START_EVERY + chance.choice([0, gap_max, chance.uniform(0, gap_max)])
        length = chance.choice([0.01, gap_max - EVERY, chance.uniform(0, gap_max - EVERY)])
        passes += await run_job(monkeypatch, started=started, pass_seconds=length)
    passes.sort()

    assert gap_max >= max(later - earlier for earlier, later in pairwise(passes))


async def test_a_job_ends_with_a_last_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass begins when the time is over, none later, and the job ends after it."""
    passes = await run_job(monkeypatch, started=0.0, pass_seconds=0.5)

    assert 60.0 == passes[-1]
    assert 12 == len(passes)


async def test_a_pass_in_progress_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass that is longer than the whole time is not cut, and one more follows it."""
    assert [0.0, 70.0] == await run_job(monkeypatch, started=0.0, pass_seconds=70.0)
