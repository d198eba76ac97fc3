"""A separate process, so that its CPU time can be measured separately.

It reads its job as one line of JSON, prints `ready`, waits for the line `go`, and prints its result as JSON at the end.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from deploy.local.home import REPOSITORY
from deploy.local.process import ended_with_parent

READY_SECONDS_MAX = 120.0


class ChildFailed(Exception):  # noqa: N818 - reads as what it is
    """The process ended without a result."""


class Child:
    """A started process that waits for `go`."""

    def __init__(self, module: str, process: asyncio.subprocess.Process) -> None:
        self._module = module
        self._process = process

    async def go(self) -> dict[str, Any]:
        """Let it run to its end; its result."""
        received, _ = await self._process.communicate(b"go\n")
        if self._process.returncode != 0:
            raise ChildFailed(f"{self._module} exited with {self._process.returncode}")
        result: dict[str, Any] = json.loads(received)
        return result


@asynccontextmanager
async def started(module: str, job: Mapping[str, Any]) -> AsyncIterator[Child]:
    """Start a module with its job; the block begins when the process is ready, and ends it."""
    process = await asyncio.create_subprocess_exec(
        *(*ended_with_parent(), sys.executable, "-m", module),
        cwd=REPOSITORY,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is handled by the parent
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(job).encode() + b"\n")
        async with asyncio.timeout(READY_SECONDS_MAX):
            if await process.stdout.readline() != b"ready\n":
                raise ChildFailed(f"{module} ended before it was ready")
        yield Child(module, process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def read_job() -> dict[str, Any]:
    """In the process: its job."""
    job: dict[str, Any] = json.loads(sys.stdin.readline())
    return job


def wait_for_go() -> None:
    """In the process: report that it is ready, and wait."""
    print("ready", flush=True)
    sys.stdin.readline()


def finish(result: Mapping[str, Any]) -> None:
    """In the process, last: print the result."""
    json.dump(result, sys.stdout)
