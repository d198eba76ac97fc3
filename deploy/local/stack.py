"""One running stack: engines and processes, started together, described in stack.json, stopped in order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Protocol

import aiohttp

from deploy.local import files, leftovers, ports
from deploy.local.engines import Engine
from deploy.local.errors import LocalError
from deploy.local.home import Home
from deploy.local.process import Process
from deploy.local.progress import Report, timed
from deploy.local.supervisor import Supervisor, Unit, describe

READY_SECONDS_MAX = 180.0
READY_POLL_SECONDS = 0.1
PROBE_SECONDS_MAX = 2.0


class Plan(Protocol):
    """What a stack is made of."""

    @property
    def engines(self) -> Sequence[Engine]:
        """The engines; they are started first and stopped last."""

    @property
    def gateway_port(self) -> int:
        """The public port."""

    async def install(self) -> None:
        """Install the programs that are missing."""

    async def prepare_databases(self) -> None:
        """Create and migrate the databases, once PostgreSQL runs and before any process starts."""

    async def seed(self) -> None:
        """Seed the data, once everything is ready and before stack.json is written."""

    def processes(self) -> list[Process]:
        """The processes; called once the engines have their ports."""

    def health_urls(self) -> dict[str, str]:
        """The address of each process's /livez and /readyz, by name."""

    def description(self) -> dict[str, Any]:
        """The content of stack.json without the process ids."""


class Stack:
    """A stack below one folder. The caller holds the folder's lock."""

    def __init__(self, home: Home, plan: Plan, *, report: Report) -> None:
        """Prepare to run `plan` below `home`; `report` receives progress messages."""
        self._home = home
        self._plan = plan
        self._report = report
        self._processes: list[Process] = []
        self._ready = False

    @property
    def kept_down(self) -> set[str]:
        """The names of the processes that are kept down."""
        return {entry.name for entry in self._home.down.iterdir()}

    @property
    def _units(self) -> list[Unit]:
        return [*self._plan.engines, *self._processes]

    async def start(self) -> None:
        """Start everything and return when all of it is ready.

        Raises:
            LocalError: the start failed; `stop` then ends what was started.
        """
        self._remove_leftovers()
        if not ports.is_free(self._plan.gateway_port):
            raise LocalError(
                f"port {self._plan.gateway_port} is used by another program: "
                "stop it, or choose another port with PAYFLOW_GATEWAY_PORT"
            )
        await self._plan.install()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._start_processes())
                for engine in self._plan.engines:
                    if not engine.holds_databases:
                        group.create_task(self._start_engine(engine))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        await timed("health of every process", self._wait_ready())

    async def finish_start(self) -> None:
        """Seed the data, unless a process is kept down, and write stack.json."""
        if self.kept_down:
            self._report(f"not seeded: {', '.join(sorted(self.kept_down))} kept down")
        else:
            await self._plan.seed()
        self._ready = True
        self._record()

    async def watch(self) -> None:
        """Supervise everything until cancelled."""
        await Supervisor(self._units, down_folder=self._home.down, changed=self._record, report=self._report).watch()

    async def stop(self) -> None:
        """Stop the processes, then the engines."""
        self._ready = False
        self._home.stack.unlink(missing_ok=True)
        try:
            await asyncio.gather(*(process.stop() for process in self._processes))
        finally:
            # Also after a failure: the engines must not be left running.
            await asyncio.gather(*(engine.stop() for engine in self._plan.engines))
        leftovers.end(self._home.processes)

    def _remove_leftovers(self) -> None:
        """End the processes and remove the stack.json of a run that was killed."""
        ended = leftovers.end(self._home.processes)
        if ended:
            self._report(f"ended processes of an earlier run: {', '.join(ended)}")
        if self._home.stack.exists():
            self._home.stack.unlink()
            self._report("removed the stack.json of a run that was killed")

    async def _start_engine(self, engine: Engine) -> None:
        if engine.name in self.kept_down:
            await engine.prepare()
            self._report(f"{engine.name} is kept down by {self._home.down / engine.name}")
        else:
            await timed(engine.name, engine.start())
            self._record()

    async def _start_processes(self) -> None:
        await asyncio.gather(*(self._start_database(engine) for engine in self._plan.engines if engine.holds_databases))
        await self._plan.prepare_databases()
        self._processes = self._plan.processes()
        for process in self._processes:
            if process.name not in self.kept_down:
                process.spawn()
        self._record()

    async def _start_database(self, engine: Engine) -> None:
        await self._start_engine(engine)
        if engine.pid is None:
            raise LocalError(f"{engine.name} is needed to start: remove {self._home.down / engine.name}")

    async def _wait_ready(self) -> None:
        """Wait for /readyz of every process, or only for /livez while an engine is kept down."""
        kept_down = self.kept_down
        page = "/livez" if any(engine.name in kept_down for engine in self._plan.engines) else "/readyz"
        urls = self._plan.health_urls()
        waiting = [process for process in self._processes if process.name not in kept_down]
        timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS_MAX)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            await asyncio.gather(*(wait_ready(session, process, urls[process.name] + page) for process in waiting))

    def _record(self) -> None:
        """Record the running processes: for the next start and, once everything is ready, in stack.json."""
        leftovers.record(self._home.processes, self._units)
        if self._ready:
            pids = {unit.name: unit.pid for unit in self._units if unit.pid is not None}
            files.write_json(self._home.stack, self._plan.description() | {"pids": pids})


async def wait_ready(session: aiohttp.ClientSession, process: Process, url: str) -> None:
    """Wait until `url` responds with 200.

    Raises:
        LocalError: the process ended, or took longer than READY_SECONDS_MAX.
    """
    deadline = time.monotonic() + READY_SECONDS_MAX
    last = "no response"
    while True:
        try:
            async with session.get(url) as response:
                if response.ok:
                    return
                last = (await response.text())[:200]
        except (aiohttp.ClientError, TimeoutError):
            pass
        status = process.poll()
        if status is not None:
            raise LocalError(f"{process.name} {describe(status)} at start: {process.last_line() or 'no output'}")
        if time.monotonic() > deadline:
            raise LocalError(f"{process.name} was not ready in {READY_SECONDS_MAX:.0f} s ({last}); see {process.log}")
        await asyncio.sleep(READY_POLL_SECONDS)


async def run_to_end(process: Process, *, seconds_max: float) -> None:
    """Run a process to its end.

    Raises:
        LocalError: it failed, or took longer than `seconds_max`.
    """
    process.spawn()
    try:
        ended = await process.wait(seconds_max)
    finally:
        process.kill()
    if not ended:
        raise LocalError(f"{process.name} took longer than {seconds_max:.0f} s; see {process.log}")
    if process.poll() != 0:
        raise LocalError(f"{process.name} {describe(process.poll())}: {process.last_line() or 'no output'}")
