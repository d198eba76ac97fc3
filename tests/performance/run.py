"""One run: each part between two runs of the yardstick, followed by the proof."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from tests.performance import counters, figures, profile, proof
from tests.performance.parts import GROWTH, Plan
from tests.performance.stretches import Measurement, Stretches
from tests.performance.system import LEDGER, System
from tests.performance.yardstick import Yardstick

REST_SECONDS = 2.0


@dataclass
class Run:
    """A run in progress and what it found so far; `began` by time.monotonic()."""

    plan: Plan
    system: System
    yardstick: Yardstick
    stretches: Stretches
    report: Callable[[str], None]
    began: float
    found: dict[str, Measurement] = field(default_factory=dict)
    proofs: dict[str, dict[str, bool]] = field(default_factory=dict)
    background: dict[str, float] = field(default_factory=dict)
    """CPU milliseconds a second that each process uses without any request."""

    async def rest(self) -> None:
        """Measure the stack without any request."""
        self.report("the stack at rest")
        await counters.quiet(self.system)
        before = counters.cpu(self.system.stack)
        await asyncio.sleep(REST_SECONDS)
        self.background = figures.by_process(
            figures.changes(before, counters.cpu(self.system.stack)), round(REST_SECONDS * 1000)
        )

    async def part(self, name: str) -> Measurement:
        """Measure one part and prove the books. The yardstick after a part is also the one before the next."""
        left = len(self.plan.parts) - len(self.found)
        self.stretches.seconds = self.plan.stretch_seconds(time.monotonic() - self.began, left)
        await self.stretches.users.renew()
        if not self.yardstick.uniform:
            await self._yardstick(name)
        self.report(f"{name}: {self.stretches.seconds} s")
        async with AsyncExitStack() as stack:
            if self.plan.profile and name not in GROWTH:
                await stack.enter_async_context(profile.recording(self.system, name))
            measured: Measurement = await getattr(self.stretches, name)()
        self.report(f"{name}: proof")
        self.proofs[name] = await proof.check(self.system) | self.proofs.get(name, {})
        if name in {"ledger", "history", "many_accounts"}:
            self.proofs[f"{name}, the ledger alone"] = await proof.check_ledger(self.system, LEDGER)
        before = self.yardstick.uniform[-1]
        measured["seconds"] = self.stretches.seconds
        measured["yardstick_tps"] = round((before + await self._yardstick(name)) / 2, 1)
        self.found[name] = measured
        return measured

    async def _yardstick(self, name: str) -> float:
        self.report(f"{name}: yardstick")
        return await self.yardstick.run(self.plan.yardstick_seconds)
