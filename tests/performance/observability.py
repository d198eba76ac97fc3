"""What metrics and logs cost: the uniform load with them and without them, in pairs of stretches on one stack."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

from deploy.local.home import Home
from deploy.local.process import Process
from deploy.local.roles import Wiring
from deploy.monitoring.servers import Servers
from tests.harness.prometheus import broker_of
from tests.performance import observed, overhead
from tests.performance.system import System

NAME = "observability"
"""Of the part of a run."""

PACKAGES = ("prometheus",)
"""The OS packages that it needs beside the engines."""

SWITCH = "unobserved"
"""The file below the stack's folder that switches metrics and logs off, for processes that start while it exists."""

SCRAPE_INTERVAL = "10s"
ENGINES = frozenset({"postgres", "rabbitmq", "redis"})
WARM_SECONDS = 3
"""Of load before each stretch, which is not measured: new processes have empty caches."""

Measurement = dict[str, Any]


class SwitchedWiring(Wiring):
    """The ordinary wiring of processes that start without metrics and logs while the file exists."""

    def _python(self, name: str, arguments: list[str], variables: dict[str, str]) -> Process:
        assert "-m" == arguments[0]
        switched = ["-m", observed.__name__, str(self._home.path / SWITCH), *arguments[1:]]
        return super()._python(name, switched, variables)


def wiring(parts: tuple[str, ...]) -> type[Wiring]:
    """How the processes of a run are started: as users run them, unless metrics and logs are to be switched."""
    return SwitchedWiring if NAME in parts else Wiring


def order(pairs: int) -> list[bool]:
    """Whether each stretch has metrics and logs: each pair in the other order than the one before, so that a drift cancels."""
    return [on for number in range(pairs) for on in ((True, False) if number % 2 == 0 else (False, True))]


async def compare(
    system: System, load: Callable[[int], Awaitable[Measurement]], *, pairs: int, seconds: int
) -> Measurement:
    """Run `load`, which gets a number of seconds, in `pairs` pairs, each time after a restart of all processes.

    The stretches with metrics and logs have a Prometheus beside them that reads every process every 10 s. Its own CPU is not
    in the figures of CPU; it does take part in the load of the machine.
    """
    stretches: dict[bool, list[Measurement]] = {True: [], False: []}
    for is_on in order(pairs):
        await _restart(system, Path(system.stack.home / SWITCH), is_on=is_on)
        async with _scraped(system, is_on=is_on) as prometheus:
            await load(WARM_SECONDS)
            before = _cpu_seconds(prometheus)
            found = await load(seconds)
            found["prometheus_cpu_us"] = round(
                (_cpu_seconds(prometheus) - before) / max(1, found["completed"]) * 1e6, 1
            )
        stretches[is_on].append(found)
    return overhead.document(stretches[True], stretches[False])


async def _restart(system: System, switch: Path, *, is_on: bool) -> None:
    """Restart all processes but the engines, with metrics and logs or without."""
    names = [name for name in system.stack["metrics"] if name not in ENGINES]
    await asyncio.gather(*(system.stack.take_down(name) for name in names))
    if is_on:
        switch.unlink(missing_ok=True)
    else:
        switch.touch()
    for name in names:
        system.stack.bring_up(name)
    await asyncio.gather(*(system.stack.ready(name) for name in names))


@asynccontextmanager
async def _scraped(system: System, *, is_on: bool) -> AsyncIterator[psutil.Process | None]:
    """A Prometheus with all rules beside the stack, or none."""
    if not is_on:
        yield None
        return
    folder = Home(system.stack.home).path / "monitoring"
    servers = Servers(folder, system.stack.description(), broker=broker_of(system.stack), names=("prometheus",))
    try:
        await servers.start(interval=SCRAPE_INTERVAL)
        pid = servers.processes["prometheus"].pid
        yield psutil.Process(pid) if pid is not None else None
    finally:
        await servers.stop()


def _cpu_seconds(process: psutil.Process | None) -> float:
    if process is None:
        return 0.0
    used = process.cpu_times()
    return float(used.user + used.system)
