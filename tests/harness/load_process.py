"""A load generator in a separate process, so that its CPU time is not measured as the gateway's.

The process prints `ready`, runs until its standard input closes, and then prints its result as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def running(module: str, *arguments: str) -> AsyncIterator[dict[str, Any]]:
    """Run the module during the block; afterwards the dictionary holds its result."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    results: dict[str, Any] = {}
    try:
        assert b"ready\n" == await process.stdout.readline()
        yield results
        received, _ = await process.communicate(b"")
        results.update(json.loads(received))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def stop_requested() -> asyncio.Future[str]:
    """In the child process: done when it must stop."""
    return asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))


def report_ready() -> None:
    """In the child process: all clients are connected."""
    print("ready", flush=True)


def report(what: Mapping[str, Any]) -> None:
    """In the child process, last: print the result."""
    print(json.dumps(what))
