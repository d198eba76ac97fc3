"""Flame graphs of all Python processes during a part, by py-spy. It slows the processes: the figures of such a run are void."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from deploy.local import files
from deploy.local.errors import LocalError
from deploy.local.process import ended_with_parent
from deploy.programs import ENVIRONMENT_PROGRAMS
from tests.performance.system import System

RATE = 200
"""Samples a second."""

ENGINES = frozenset({"postgres", "rabbitmq", "redis"})


@asynccontextmanager
async def recording(system: System, part: str) -> AsyncIterator[None]:
    """Record during the block; PROCESS.svg of each process goes to the folder `profile/PART` beside bench.json.

    Raises:
        LocalError: py-spy is missing, or is not permitted to read other processes.
    """
    folder = system.stack.home.parent / "profile" / part
    shutil.rmtree(folder, ignore_errors=True)
    files.make_folder(folder.parent)
    files.make_folder(folder)
    pids = {name: pid for name, pid in system.stack["pids"].items() if name not in ENGINES}
    recorders = [await _start(pid, folder / f"{name}.svg") for name, pid in pids.items()]
    try:
        yield
        for recorder in recorders:
            if recorder.returncode is None:
                recorder.send_signal(signal.SIGINT)  # it writes its graph
        ends = await asyncio.gather(*(recorder.wait() for recorder in recorders))
    finally:
        for recorder in recorders:
            if recorder.returncode is None:
                recorder.kill()
                await recorder.wait()
    if not any(status == 0 for status in ends):
        raise LocalError("py-spy could not read the processes: run as root, or set kernel.yama.ptrace_scope to 0")


async def _start(pid: int, path: Path) -> asyncio.subprocess.Process:
    # Only threads that hold the interpreter's lock: on a busy machine others look active while they wait for a core.
    options = ["--pid", str(pid), "--output", str(path), "--rate", str(RATE)]
    return await asyncio.create_subprocess_exec(
        *(*ended_with_parent(), str(ENVIRONMENT_PROGRAMS / "py-spy"), "record", "--nonblocking", "--gil", *options),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
