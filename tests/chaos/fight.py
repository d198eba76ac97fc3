"""One run: load and faults side by side, then quiet, then the verdict."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

from tests.chaos import bank, view
from tests.chaos.crowd import Crowd
from tests.chaos.faults import strike
from tests.chaos.judge import Verdict, View, judge
from tests.chaos.report import Report, Struck
from tests.chaos.schedule import Round
from tests.chaos.system import System
from tests.harness.books import faults_when_quiet

QUIET_SECONDS_MAX = 90.0

Strike = Callable[[Round], Awaitable[float | None]]
"""Break and heal; how long healing took, None when nobody can tell."""


async def break_things(
    turns: Iterator[Round], strike_one: Strike, report: Report, told: Callable[[Struck], None], *, lanes: int
) -> None:
    """Deal the rounds to the lanes until there are no more: so many faults at a time, never two of one process."""
    busy: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
    began = time.monotonic()

    async def lane() -> None:
        for turn in turns:
            await asyncio.sleep(turn.gap)
            async with busy[turn.process]:
                at = time.monotonic() - began
                struck = Struck(at, turn, await strike_one(turn))
            report.struck.append(struck)
            told(struck)

    await asyncio.gather(*(lane() for _ in range(lanes)))
    report.seconds = time.monotonic() - began


def on_system(system: System) -> Strike:
    """How a private stack is broken: by its own faults; then wait until what was hit is well again."""

    async def strike_one(turn: Round) -> float | None:
        await strike(system, turn)
        return await system.healed(turn.component)

    return strike_one


@asynccontextmanager
async def under_load(crowd: Crowd) -> AsyncIterator[None]:
    """The crowd does as it pleases while the block runs."""
    living = asyncio.create_task(crowd.run())
    try:
        yield
    finally:
        crowd.stopping.set()
        await living


@asynccontextmanager
async def watched(system: System, crowd: Crowd) -> AsyncIterator[None]:
    """The ledger is summed up all the time while the block runs."""
    watching = asyncio.create_task(bank.watch(system.stack["databases"]["wallet"], crowd.history))
    try:
        yield
    finally:
        # One that has died on the way has not watched: its error ends the run.
        if not watching.cancel():
            watching.result()
        await asyncio.gather(watching, return_exceptions=True)


async def conclude(crowd: Crowd, report: Report, system: System | None) -> tuple[View, Verdict]:
    """Wait until all is quiet, at most as long as is promised, look at everything, and judge."""
    began = time.monotonic()
    ill = [] if system is None else await system.ill()
    await crowd.finalize(QUIET_SECONDS_MAX - (time.monotonic() - began))
    report.quiet_seconds = time.monotonic() - began
    seen = await view.read(crowd)
    verdict = judge(crowd.history, seen)
    verdict.stuck.extend(f"{name} did not come back" for name in ill)
    if system is not None:
        _add(verdict, await faults_when_quiet(system.stack, seconds=QUIET_SECONDS_MAX))
    return seen, verdict


_KINDS = {"lost": "lost", "stuck": "stuck", "doubled": "doubled", "key used twice": "doubled", "keys": "doubled"}
_KINDS |= {"contradictory": "contradictory", "notifications": "contradictory", "events": "contradictory"}


def _add(verdict: Verdict, found: list[str]) -> None:
    """What the books say; they name each fault by what it is."""
    for text in found:
        kind = _KINDS.get(text.partition(":")[0], "unbalanced")
        getattr(verdict, kind).append(text)
