"""Kill processes of the stack and wait for their replacement."""

from __future__ import annotations

import asyncio
import os
import signal

from tests.harness.stack import Stack


async def kill(stack: Stack, name: str, *, seconds: float = 180) -> None:
    """`kill -9` a process, and wait until the supervisor has started another one that is ready."""
    pid = stack["pids"][name]
    os.kill(pid, signal.SIGKILL)
    await replaced(stack, name, pid, seconds=seconds)


async def replaced(stack: Stack, name: str, pid: int, *, seconds: float = 180) -> None:
    """Wait until another process has this name and is ready."""
    async with asyncio.timeout(seconds):
        while stack["pids"].get(name, pid) == pid:
            await asyncio.sleep(0.02)
    await stack.ready(name, seconds=seconds)
