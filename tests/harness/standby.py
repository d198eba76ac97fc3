"""A primary and a synchronous standby: commits that wait for the standby, cancelled waits, a failover."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest

from deploy.local.engines import Postgres
from deploy.local.engines import postgres as engine
from deploy.secrets.store import Secrets
from services.chassis import migrations
from services.chassis.database import CommitUnknown

NAME = "standby"
SECONDS_MAX = 30.0
POLL_SECONDS = 0.005
SETTINGS = {
    "shared_buffers": "32MB",
    # A suspended standby stays connected for as long as a test needs it.
    "wal_sender_timeout": "0",
    "wal_receiver_timeout": "0",
    "wal_retrieve_retry_interval": "100ms",
    "autovacuum": "off",
}

WAITING = "FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND backend_type = 'client backend'"
WAITING_COUNT = f"SELECT count(*) {WAITING}"

Result = TypeVar("Result")
Action = Callable[[], Awaitable[Result]]


class Primary(Postgres):
    """A server whose commits can wait for a standby."""

    async def wait_for(self, standby: str) -> None:
        """From now on each commit waits for the standby of this name."""
        self._settings["synchronous_standby_names"] = standby
        self._write_settings()
        connection = await asyncpg.connect(self.dsn("postgres"))
        try:
            await connection.execute("SELECT pg_reload_conf()")
        finally:
            await connection.close()


class Standby(Postgres):
    """A streaming replica of another server, with the same passwords."""

    def __init__(self, directory: Path, primary: Postgres, secrets: Secrets) -> None:
        super().__init__(directory, secrets=secrets, settings=SETTINGS)
        self._primary = primary

    async def _initialise(self, programs: Path) -> None:
        """Copy the running primary; the copy replicates it from then on."""
        draft = self.directory / "data.new"
        draft.mkdir(mode=0o700)
        user = self._server_user()
        if user is not None:
            os.chown(draft, user.pw_uid, user.pw_gid)
        source = f"{self._primary.dsn('postgres')}?application_name={NAME}"
        copy = [str(programs / "pg_basebackup"), "-d", source, "-D", str(draft), "-R", "-X", "stream", "-c", "fast"]
        try:
            await engine._run("pg_basebackup", [*self._launcher(), *copy], environment=engine.CLEAN_ENVIRONMENT)
            draft.rename(self.data)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


class Pair:
    """A primary whose commits wait for its standby."""

    def __init__(self, directory: Path) -> None:
        secrets = Secrets(directory / "secrets.json")
        self.primary = Primary(directory / "primary", secrets=secrets, settings=SETTINGS)
        self.standby = Standby(directory / "standby", self.primary, secrets)
        self._receiver: int | None = None

    async def start(self, services: list[str]) -> None:
        """Start both, with the migrated databases of these services; from then on each commit waits for the standby."""
        await self.primary.start()
        await self.primary.provision()
        for service in services:
            await migrations.migrate(service, self.primary.dsn(service, f"payflow_{service}_owner"))
        await self.standby.start()
        await self.primary.wait_for(NAME)
        await self._until_in_step()

    async def stop(self) -> None:
        """Stop both, the standby first: it must not outlive a primary that waits for it."""
        self.resume()
        await self.standby.stop()
        self.primary.kill()

    async def lose_standby(self) -> None:
        """From now on no commit reaches the standby; what it already has stays."""
        connection = await asyncpg.connect(self.standby.dsn("postgres"))
        try:
            async with asyncio.timeout(SECONDS_MAX):
                while self._receiver is None:
                    self._receiver = await connection.fetchval("SELECT pid FROM pg_stat_wal_receiver")
        finally:
            await connection.close()
        os.kill(self._receiver, signal.SIGSTOP)

    def resume(self) -> None:
        """Let the standby catch up."""
        if self._receiver is not None:
            os.kill(self._receiver, signal.SIGCONT)
            self._receiver = None

    async def fail_over(self) -> None:
        """Kill the primary and promote the standby; commits it has not received are lost."""
        self.primary.kill()
        self.standby.kill()
        self._receiver = None
        await self.standby.start()
        await self._execute("SELECT pg_promote()", on=self.standby)

    async def rebuild(self) -> None:
        """After a failover: make the old primary the primary again, with a new standby."""
        self.standby.kill()
        shutil.rmtree(self.standby.data)
        await self.primary.start()
        await self.standby.start()
        await self._until_in_step()

    async def leave_unknown(self, action: Action[Any]) -> None:
        """Run an action without the standby and cancel its wait: it is committed on the primary only."""
        await self.lose_standby()
        task = asyncio.ensure_future(action())
        for pid in await self.until_waiting(task):
            await self._execute(f"SELECT pg_cancel_backend({pid})")
        with pytest.raises(CommitUnknown):
            await task

    async def terminate_waiting(self, task: asyncio.Future[Any]) -> None:
        """Terminate the sessions that wait for the standby."""
        for pid in await self.until_waiting(task):
            await self._execute(f"SELECT pg_terminate_backend({pid})")

    async def after_replication(self, action: Action[Result]) -> Result:
        """Run an action that must wait for the standby; resume the standby once it waits, and return the result."""
        task = asyncio.ensure_future(action())
        try:
            await self.until_waiting(task)
        finally:
            self.resume()
        return await task

    async def until_waiting(self, task: asyncio.Future[Any]) -> list[int]:
        """Wait until the task waits for the standby; return the server processes. The task must not end before."""
        connection = await asyncpg.connect(self.primary.dsn("postgres"))
        try:
            async with asyncio.timeout(SECONDS_MAX):
                while True:
                    waiting = await connection.fetch(f"SELECT pid {WAITING}")
                    if waiting:
                        return [row["pid"] for row in waiting]
                    assert not task.done(), f"did not wait for the standby: {task.exception() or task.result()!r}"
                    await asyncio.sleep(POLL_SECONDS)
        finally:
            await connection.close()

    async def until_decided(self, tasks: Sequence[asyncio.Future[Any]]) -> None:
        """Wait until each of the tasks has ended or waits for the standby."""
        async with asyncio.timeout(SECONDS_MAX):
            while sum(not task.done() for task in tasks) != await self._execute(WAITING_COUNT):
                await asyncio.sleep(POLL_SECONDS)

    async def _until_in_step(self) -> None:
        async with asyncio.timeout(SECONDS_MAX):
            while not await self._execute("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"):
                await asyncio.sleep(POLL_SECONDS)

    async def _execute(self, statement: str, *, on: Postgres | None = None) -> Any:
        connection = await asyncpg.connect((on or self.primary).dsn("postgres"))
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()


@asynccontextmanager
async def running(directory: Path, *services: str) -> AsyncIterator[Pair]:
    """A pair with the databases of these services during the block."""
    pair = Pair(directory)
    try:
        await pair.start(list(services))
        yield pair
    finally:
        await pair.stop()
