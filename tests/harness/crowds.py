"""A crowd of clients in a process of its own: what it costs to be a crowd is not taken for what the gateway costs.

The process says when it is there, goes on until its standard input ends, and then tells what became of it, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def beside(module: str, *arguments: str) -> AsyncIterator[dict[str, Any]]:
    """The crowd of this module beside what is done inside; afterwards the dictionary holds what it told."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    told: dict[str, Any] = {}
    try:
        assert b"ready\n" == await process.stdout.readline()
        yield told
        said, _ = await process.communicate(b"")
        told.update(json.loads(said))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def told_to_end() -> asyncio.Future[str]:
    """Inside the crowd's process: done when it is to end."""
    return asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))


def say_ready() -> None:
    """Inside the crowd's process: everybody is there."""
    print("ready", flush=True)


def tell(what: Mapping[str, Any]) -> None:
    """Inside the crowd's process, last: what became of it."""
    print(json.dumps(what))
