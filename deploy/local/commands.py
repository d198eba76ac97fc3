"""What a person can ask for: run, demo, stop, clean, install."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator

from deploy.local import files, install, leftovers, lock, process, seed
from deploy.local.demo import demo as show
from deploy.local.home import Home
from deploy.local.payflow import PayFlow
from deploy.local.ports import LOOPBACK
from deploy.local.progress import Tell, tell
from deploy.local.stack import Plan, Stack
from deploy.local.trouble import Trouble

START_SECONDS_MAX = 120.0
STOP_SECONDS_MAX = 90.0
POLL_SECONDS = 0.1


async def run(home: Home) -> None:
    """Start the stack and keep it up in the foreground until it is told to stop."""
    started = time.monotonic()
    async with running(home, PayFlow(home, os.environ)) as (gateway, watching):
        tell(f"\nPayFlow is ready after {time.monotonic() - started:.1f} s: {gateway}\n")
        tell(f"  people    {seed.ALICE}, {seed.BOB}, {seed.OPERATOR} (operator); password {seed.PASSWORD}")
        tell(
            f"            {seed.CAROL} (a history), {seed.PENNY} (next to nothing); things go wrong: docs/simulated-failures.md"
        )
        tell(f"  logs      {home.logs}")
        tell("  stop      Ctrl-C here, or make stop in another terminal\n")
        await watching


async def demo(home: Home) -> None:
    """Show one transfer on the running stack, or on one that is started for it and stopped afterwards."""
    if lock.holder(home.lock) is not None:
        await show(await _running_gateway(home))
        return
    async with running(home, PayFlow(home, os.environ)) as (gateway, _):
        await show(gateway)


async def stop(home: Home) -> None:
    """Tell the running stack to stop, and wait until it has; ends what a killed one left."""
    holder = lock.holder(home.lock)
    if holder is None:
        ended = _end_leftovers(home)
        tell(f"ended what an earlier run had left: {', '.join(ended)}" if ended else "nothing is running")
        return
    if holder:
        os.kill(holder, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS_MAX
    while lock.holder(home.lock) is not None:
        if time.monotonic() > deadline:
            raise Trouble(f"process {holder} has not stopped in {STOP_SECONDS_MAX:.0f} s")
        await asyncio.sleep(POLL_SECONDS)
    tell("stopped")


async def clean(home: Home) -> None:
    """Remove the folder with all its data, after asking."""
    if not home.path.exists():
        tell("nothing to remove")
        return
    if lock.holder(home.lock) is not None:
        raise Trouble("PayFlow is running; stop it first: make stop")
    if not home.is_ours():
        raise Trouble(f"{home.path} does not look like a folder of PayFlow: nothing was removed")
    if os.environ.get("YES") != "1" and not _agrees(f"Remove {home.path} and all the data in it? [y/N] "):
        raise Trouble("nothing was removed")
    _end_leftovers(home)
    shutil.rmtree(home.path)
    tell(f"removed {home.path}")


async def install_engines(_home: Home) -> None:
    """Install the engines' OS packages where they are missing."""
    await install.ensure(tell)


@contextlib.asynccontextmanager
async def running(home: Home, plan: Plan, *, tell: Tell = tell) -> AsyncIterator[tuple[str, asyncio.Task[None]]]:
    """A started and supervised stack: the address of its gateway, and the task that keeps it up."""
    home.open()
    with lock.held(home.lock):
        leftovers.refuse_copy(home.processes)
        stack = Stack(home, plan, tell=tell)
        watching: asyncio.Task[None] | None = None
        try:
            tell(f"starting in {home.path}")
            await stack.start()
            watching = asyncio.create_task(stack.watch())
            await stack.furnish()
            yield f"http://{LOOPBACK}:{plan.gateway_port}", watching
        finally:
            await _finish(stack, watching)


async def _finish(stack: Stack, watching: asyncio.Task[None] | None) -> None:
    """Stop everything to the end, whatever signals arrive meanwhile."""
    if watching is not None:
        watching.cancel()
        await asyncio.wait([watching])
    tell("stopping")
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
    raise Trouble("the running stack is not ready; see the terminal in which it runs")


def _end_leftovers(home: Home) -> list[str]:
    ended = leftovers.end(home.processes)
    for engine in PayFlow(home, os.environ).engines:
        engine.end_orphans()
    home.stack.unlink(missing_ok=True)
    return ended


def _agrees(question: str) -> bool:
    if not sys.stdin.isatty():
        return False
    return input(question).strip().lower() in {"y", "yes"}
