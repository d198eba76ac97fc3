"""The commands: run, demo, stop, clean, install, install-all."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator

from deploy.local import engine_sets, files, install, leftovers, lock, process, seed
from deploy.local.demo import demo as show
from deploy.local.errors import LocalError
from deploy.local.home import Home
from deploy.local.payflow import PayFlow
from deploy.local.ports import LOOPBACK
from deploy.local.progress import Report, report
from deploy.local.stack import Plan, Stack

START_SECONDS_MAX = 120.0
STOP_SECONDS_MAX = 90.0
POLL_SECONDS = 0.1


async def run(home: Home) -> None:
    """Start the stack and keep it up in the foreground until a signal stops it."""
    started = time.monotonic()
    async with running(home, PayFlow(home, os.environ)) as (gateway, supervising):
        report(f"\nPayFlow is ready after {time.monotonic() - started:.1f} s: {gateway}\n")
        report(f"  users     {seed.ALICE}, {seed.BOB}, {seed.OPERATOR} (operator); password {seed.PASSWORD}")
        report(
            f"            {seed.CAROL} (has a history), {seed.PENNY} (has little money); see docs/simulated-failures.md"
        )
        report(f"  logs      {home.logs}")
        report("  stop      Ctrl-C here, or make stop in another terminal\n")
        await supervising


async def demo(home: Home) -> None:
    """Show one transfer on the running stack, or on one that is started and stopped for it."""
    if lock.holder(home.lock) is not None:
        await show(await _running_gateway(home))
        return
    async with running(home, PayFlow(home, os.environ)) as (gateway, _):
        await show(gateway)


async def stop(home: Home) -> None:
    """Stop the running stack and wait for its end; without one, end what a killed stack left behind."""
    holder = lock.holder(home.lock)
    if holder is None:
        ended = _end_leftovers(home)
        report(f"ended processes of an earlier run: {', '.join(ended)}" if ended else "nothing is running")
        return
    if holder:
        os.kill(holder, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS_MAX
    while lock.holder(home.lock) is not None:
        if time.monotonic() > deadline:
            raise LocalError(f"process {holder} has not stopped in {STOP_SECONDS_MAX:.0f} s")
        await asyncio.sleep(POLL_SECONDS)
    report("stopped")


async def clean(home: Home) -> None:
    """Remove the folder with all its data, after a confirmation."""
    if not home.path.exists():
        report("nothing to remove")
        return
    if lock.holder(home.lock) is not None:
        raise LocalError("PayFlow is running; stop it first: make stop")
    if not home.is_ours():
        raise LocalError(f"{home.path} is not a data folder of PayFlow: nothing was removed")
    if os.environ.get("YES") != "1" and not _agrees(f"Remove {home.path} and all the data in it? [y/N] "):
        raise LocalError("nothing was removed")
    _end_leftovers(home)
    shutil.rmtree(home.path)
    report(f"removed {home.path}")


async def install_engines(_home: Home) -> None:
    """Install the engines' OS packages where they are missing."""
    await install.ensure(report)


async def install_all(_home: Home) -> None:
    """Install the OS packages of the engines and of the tests where they are missing."""
    await install.ensure(report, also=tuple(install.EXTRA_FINDERS))


@contextlib.asynccontextmanager
async def running(home: Home, plan: Plan, *, report: Report = report) -> AsyncIterator[tuple[str, asyncio.Task[None]]]:
    """A started stack: the address of its gateway, and the task that supervises it."""
    home.open()
    with lock.held(home.lock):
        home.rename_hold_folder()
        leftovers.refuse_copy(home.processes)
        stack = Stack(home, plan, report=report)
        supervising: asyncio.Task[None] | None = None
        try:
            report(f"starting in {home.path}")
            await stack.start()
            supervising = asyncio.create_task(stack.watch())
            await stack.finish_start()
            yield f"http://{LOOPBACK}:{plan.gateway_port}", supervising
        finally:
            await _finish(stack, supervising)


async def _finish(stack: Stack, supervising: asyncio.Task[None] | None) -> None:
    """Stop everything, whatever signals arrive meanwhile."""
    if supervising is not None:
        supervising.cancel()
        await asyncio.wait([supervising])
    report("stopping")
    ending = asyncio.ensure_future(stack.stop())
    while not ending.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(ending)
    ending.result()


async def _running_gateway(home: Home) -> str:
    """The gateway of the stack that another process runs, once it is ready."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and lock.holder(home.lock) is not None:
        stack = files.read_object(home.stack)
        if stack is not None and process.is_alive(stack["pids"].get("gateway", 0)):
            return str(stack["gateway"])
        await asyncio.sleep(POLL_SECONDS)
    raise LocalError("the running stack is not ready; see the terminal that runs it")


def _end_leftovers(home: Home) -> list[str]:
    ended = leftovers.end(home.processes)
    engine_sets.end_orphans(home)
    home.stack.unlink(missing_ok=True)
    return ended


def _agrees(question: str) -> bool:
    if not sys.stdin.isatty():
        return False
    return input(question).strip().lower() in {"y", "yes"}
