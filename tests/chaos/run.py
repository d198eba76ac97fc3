"""One run: load and faults at the same time, then quiet, then the verdict."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

from tests.chaos import cluster_faults, final_state, ledger_watch
from tests.chaos.checks import FinalState, Verdict, evaluate
from tests.chaos.cluster_system import Clusters
from tests.chaos.faults import inject
from tests.chaos.load import Load
from tests.chaos.report import Injected, Report
from tests.chaos.schedule import Round
from tests.chaos.system import ProxiedSystem, System
from tests.harness.books import faults_when_quiet

QUIET_SECONDS_MAX = 90.0

Injector = Callable[[Round], Awaitable[float | None]]
"""Inject a fault and heal it; return the seconds until recovery, None if unknown."""


async def inject_faults(
    rounds: Iterator[Round], inject_one: Injector, report: Report, on_healed: Callable[[Injected], None], *, lanes: int
) -> None:
    """Work off the rounds in `lanes` parallel tasks; a process never has two faults at the same time."""
    busy: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
    began = time.monotonic()

    async def lane() -> None:
        for round_ in rounds:
            await asyncio.sleep(round_.gap)
            async with busy[round_.process]:
                at = time.monotonic() - began
                healed = await inject_one(round_)
                injected = Injected(at, round_, healed, ended_at=time.monotonic() - began)
            report.injected.append(injected)
            on_healed(injected)

    await asyncio.gather(*(lane() for _ in range(lanes)))
    report.seconds = time.monotonic() - began


def cluster_injector(system: Clusters) -> Injector:
    """Inject faults into a private stack on clusters, then wait until all of it is ready again."""

    async def inject_one(round_: Round) -> float | None:
        await cluster_faults.inject(system, round_)
        return await system.healed(round_.component)

    return inject_one


def stack_injector(system: ProxiedSystem) -> Injector:
    """Inject faults into a private stack, then wait until the affected process is ready again."""

    async def inject_one(round_: Round) -> float | None:
        await inject(system, round_)
        return await system.healed(round_.component)

    return inject_one


@asynccontextmanager
async def under_load(load: Load) -> AsyncIterator[None]:
    """Run the load during the block."""
    running = asyncio.create_task(load.run())
    try:
        yield
    finally:
        load.stopping.set()
        await running


@asynccontextmanager
async def watching_ledger(system: System, load: Load) -> AsyncIterator[None]:
    """Check the sum of the ledger continuously during the block."""
    watching = asyncio.create_task(ledger_watch.watch(system.stack["databases"]["wallet"], load.history))
    try:
        yield
    finally:
        # A watcher that has failed has checked nothing since: its error ends the run.
        if not watching.cancel():
            watching.result()
        await asyncio.gather(watching, return_exceptions=True)


async def conclude(load: Load, report: Report, system: System | None) -> tuple[FinalState, Verdict]:
    """Wait until the system is quiet, at most `QUIET_SECONDS_MAX`, read the final state, and evaluate."""
    began = time.monotonic()
    not_ready = [] if system is None else await system.not_ready()
    await load.finalize(QUIET_SECONDS_MAX - (time.monotonic() - began))
    report.quiet_seconds = time.monotonic() - began
    seen = await final_state.read(load)
    verdict = evaluate(load.history, seen)
    verdict.stuck.extend(f"{name} did not recover" for name in not_ready)
    if system is not None:
        _add(verdict, await faults_when_quiet(system.stack, seconds=QUIET_SECONDS_MAX))
    return seen, verdict


_KINDS = {"lost": "lost", "stuck": "stuck", "doubled": "doubled", "key used twice": "doubled", "keys": "doubled"}
_KINDS |= {"contradictory": "contradictory", "notifications": "contradictory", "events": "contradictory"}


def _add(verdict: Verdict, found: list[str]) -> None:
    """Add the faults found in the databases; each text starts with its kind."""
    for text in found:
        kind = _KINDS.get(text.partition(":")[0], "unbalanced")
        getattr(verdict, kind).append(text)
