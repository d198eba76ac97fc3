"""The whole stack for tests: every role in its own process, started with one command."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from deploy.local.ports import find_free
from deploy.local.process import Process
from tests.harness import leaks, preloaded
from tests.harness.databases import DataFolder
from tests.harness.preloaded import PreloadedProcess

START_SECONDS_MAX = 500
STOP_SECONDS_MAX = 120
ROOT = Path(__file__).parents[2]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Stack:
    """A running stack: its stack.json, read on each access, and the processes that are kept down."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def __getitem__(self, name: str) -> Any:
        return self.description()[name]

    def description(self) -> dict[str, Any]:
        """The content of stack.json."""
        made: dict[str, Any] = json.loads((self.home / "stack.json").read_text())
        return made

    async def take_down(self, name: str) -> None:
        """Keep a process down until `bring_up`."""
        (self.home / "down" / name).touch()
        pid = self["pids"].get(name)
        async with asyncio.timeout(120):
            while pid is not None and is_alive(pid):
                await asyncio.sleep(0.05)

    def bring_up(self, name: str) -> None:
        """Let it start again."""
        (self.home / "down" / name).unlink(missing_ok=True)

    async def pages(self) -> str:
        """The metrics pages of all roles that respond, concatenated."""
        texts = []
        async with aiohttp.ClientSession() as session:
            for url in self["metrics"].values():
                with suppress(aiohttp.ClientConnectionError):
                    async with session.get(f"{url.removesuffix('/metrics')}/metrics") as response:
                        texts.append(await response.text())
        return "\n".join(texts)

    async def ready(self, name: str, *, expected: int = 200, seconds: float = 180) -> None:
        """Wait until the role's /readyz returns `expected`."""
        async with aiohttp.ClientSession() as session, asyncio.timeout(seconds):
            while await self.probe(session, name, "readyz") != expected:
                await asyncio.sleep(0.1)

    async def probe(self, session: aiohttp.ClientSession, name: str, path: str) -> int | None:
        """The status of a role's health endpoint; None without a response."""
        url = self["metrics"][name].removesuffix("/metrics")
        try:
            async with session.get(f"{url}/{path}", timeout=aiohttp.ClientTimeout(total=5)) as response:
                return response.status
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def query(self, database: str, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Run a query as the owner of the database."""
        connection = await asyncpg.connect(self["databases"][database])
        try:
            return await connection.fetch(statement, *arguments)
        finally:
            await connection.close()


@asynccontextmanager
async def running(
    home: Path,
    settings: Mapping[str, str] | None = None,
    *,
    data: DataFolder | None = None,
    forked: bool = True,
    command: Sequence[str] = preloaded.BY_COMMANDS,
) -> AsyncIterator[Stack]:
    """A separate stack below `home`; `settings` are additional environment variables.

    Its databases are copies of `data`, or made from nothing. Its roles are forks of a process that has imported them, where
    that is allowed, unless `forked` is false; otherwise `command` runs the stack.
    """
    if data is not None:
        await data.copy(home / "postgres", home / "secrets.json")
    environment = os.environ | {
        "PAYFLOW_HOME": str(home),
        "PAYFLOW_GATEWAY_PORT": str(find_free()),
        "PAYFLOW_RATE_LIMITS": "off",
        "PAYFLOW_REVERSAL_AFTER_SECONDS": "20",
        # Its transfers would be among those that a test counts.
        "PAYFLOW_CANARY": "off",
        **(settings or {}),
    }
    is_forked = forked and preloaded.is_allowed(os.environ)
    process = _command(home, environment, command=None if is_forked else command)
    process.spawn()
    try:
        async with asyncio.timeout(START_SECONDS_MAX):
            while not (home / "stack.json").exists():
                assert process.poll() is None, process.log.read_text()
                await asyncio.sleep(0.1)
        yield Stack(home)
    finally:
        await process.stop(seconds_max=STOP_SECONDS_MAX)
    assert 0 == process.poll(), process.log.read_text()
    # No secret that was sent or received in this run may be in these logs.
    assert [] == leaks.search(home / "logs", leaks.known_secrets() | leaks.secrets_of(home)), "see the lines named"


def _command(home: Path, environment: Mapping[str, str], *, command: Sequence[str] | None) -> Process:
    log = home / "run.log"
    if command is None:
        return PreloadedProcess("run", preloaded.__name__, environment=environment, log=log)
    return Process("run", command, environment=environment, directory=ROOT, log=log)
