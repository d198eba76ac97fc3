"""PostgreSQL killed, its sessions ended, its connections exhausted, under load: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import asyncpg
import pytest

from deploy.local.engines.postgres import SUPERUSER
from deploy.local.roles import ROLES
from services.chassis import database
from services.chassis.database import DatabaseUnavailable
from tests.chaos import timing
from tests.chaos.superuser import logged_in
from tests.chaos.timing import Phase, TimedPerson
from tests.harness.api import ApiClient, Person
from tests.harness.books import faults_when_quiet
from tests.harness.databases import TestDatabase
from tests.harness.drills import bound
from tests.harness.load import Sent, load
from tests.harness.stack import Stack

KILLS = bound(2, 50)
TERMINATING_SECONDS = bound(5.0, 60.0)
FULL_SECONDS = 5.0
ANSWER_SECONDS_MAX = 5.0
PATIENCE_SECONDS = bound(10.0, ANSWER_SECONDS_MAX)
"""The longest a call may take. The short form allows for a busy machine."""

HEALING_SECONDS = 60.0
CONNECTIONS = 260
"""More than the server allows (200)."""


@pytest.fixture(scope="module")
async def users(api: ApiClient, operator: Person) -> list[TimedPerson]:
    return await timing.register_timed(api, operator, 6)


def pids(stack: Stack) -> dict[str, int]:
    """The pids of the service processes."""
    return {role.name: stack["pids"].get(role.name) for role in ROLES}


@asynccontextmanager
async def under_load(stack: Stack, api: ApiClient, users: list[TimedPerson], drill: str) -> AsyncIterator[Sent]:
    """Load during the block. Afterwards nothing acknowledged may be missing, and no process may have restarted."""
    before = pids(stack)
    began = time.monotonic()
    async with load(api, users) as sent:
        await sent.more(10)
        yield sent
        ended = time.monotonic()
        # Healed: transfers are accepted again.
        await sent.more(30, seconds=HEALING_SECONDS)
        healed = time.monotonic()
    found = sent.faults() + await faults_when_quiet(stack, sent.ids, seconds=120)
    for role in ROLES:
        await stack.ready(role.name)
    timing.report(
        drill,
        accepted=len(sent.ids),
        healed_after_s=round(healed - ended, 2),
        quiet_after_s=round(time.monotonic() - healed, 2),
        all_calls=timing.phase(users, began).figures(),
    )
    assert [] == found
    assert before == pids(stack)


def assert_refused_in_time(calls: Phase) -> None:
    """Every refused call is 503 or 504, in time, and a 503 has Retry-After."""
    assert set(calls.statuses) <= {202, 503, 504}, calls.statuses
    assert [] == [call for call in calls.faults if call.status == 503 and call.retry_after is None]
    assert calls.slowest < PATIENCE_SECONDS, calls.figures()


@pytest.mark.timeout(bound(300, 3600))
async def test_postgres_killed(stack: Stack, api: ApiClient, users: list[TimedPerson]) -> None:
    """Guarantee 33: PostgreSQL killed under load, repeatedly: all that was acknowledged is there; services recover."""
    began = time.monotonic()
    async with under_load(stack, api, users, f"33 killed {KILLS} times") as sent:
        for _ in range(KILLS):
            pid = stack["pids"]["postgres"]
            os.kill(pid, signal.SIGKILL)
            async with asyncio.timeout(HEALING_SECONDS):
                while stack["pids"].get("postgres", pid) == pid:
                    await asyncio.sleep(0.05)
            await sent.more(5, seconds=HEALING_SECONDS)
        ended = time.monotonic()
    assert_refused_in_time(timing.phase(users, began, ended))


@pytest.mark.timeout(bound(300, 600))
async def test_sessions_terminated_at_random(stack: Stack, api: ApiClient, users: list[TimedPerson]) -> None:
    """Guarantee 33: sessions of any service end at any moment: all that was acknowledged is there; services recover."""
    ended = 0
    began = time.monotonic()
    async with (
        logged_in(stack) as connection,
        under_load(stack, api, users, f"33 sessions terminated for {TERMINATING_SECONDS:.0f} s"),
    ):
        while time.monotonic() < began + TERMINATING_SECONDS:
            ended += len(await connection.fetch(TERMINATE, 1))
            await asyncio.sleep(0.05)
        broken = timing.phase(users, began, time.monotonic())
    timing.report("33 sessions", terminated=ended)
    assert ended > TERMINATING_SECONDS
    assert_refused_in_time(broken)


async def test_connections_used_up(stack: Stack, api: ApiClient, users: list[TimedPerson]) -> None:
    """Guarantee 33: no connection is free for five seconds: 503 with `Retry-After` in time, and all recover without restart."""
    began = time.monotonic()
    async with logged_in(stack) as connection, under_load(stack, api, users, "33 connections used up"):
        async with connections_taken(urlsplit(stack["databases"]["wallet"]).port or 0):
            while time.monotonic() < began + FULL_SECONDS:
                await connection.fetch(TERMINATE, 1000)
                await asyncio.sleep(0.2)
        broken = timing.phase(users, began, time.monotonic())
    timing.report("33 used up", broken=broken.figures(), codes=sorted({str(c.code) for c in broken.calls}))
    assert broken.statuses[503] > 0
    assert_refused_in_time(broken)


async def test_a_session_ended_between_two_statements(wallet_database: TestDatabase) -> None:
    """Guarantee 33: the server's last message has arrived, the close has not: unavailable once, then the pool works again."""
    ended = asyncio.Event()
    async with proxy_without_close(wallet_database.service_url, ended) as url:
        pool = await wallet_database.pool(url)
        async with database.connection(pool) as borrowed:
            pid = await borrowed.fetchval("SELECT pg_backend_pid()")
        owner = await asyncpg.connect(wallet_database.superuser_url)
        await owner.fetchval("SELECT pg_terminate_backend($1)", pid)
        await owner.close()
        await asyncio.wait_for(ended.wait(), 10)

        with pytest.raises(DatabaseUnavailable):
            async with database.connection(pool) as borrowed:
                await borrowed.fetchval("SELECT 1")
        async with database.connection(pool) as borrowed:
            assert 2 == await borrowed.fetchval("SELECT 2")
        pool.terminate()


@asynccontextmanager
async def proxy_without_close(url: str, ended: asyncio.Event) -> AsyncIterator[str]:
    """A proxy that forwards the server's last message, but never the close of the connection."""
    parts = urlsplit(url)
    tasks: list[asyncio.Task[None]] = []
    writers: list[asyncio.StreamWriter] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, end: asyncio.Event | None) -> None:
        while piece := await reader.read(65536):
            writer.write(piece)
        if end is not None:
            # The last message is sent; the reader receives it within these turns of the event loop.
            await writer.drain()
            await asyncio.sleep(0.1)
            end.set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(parts.hostname, parts.port)
        writers.extend((writer, server_writer))
        tasks.append(asyncio.create_task(copy(reader, server_writer, None)))
        tasks.append(asyncio.create_task(copy(server_reader, writer, ended)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    login, _, _ = parts.netloc.rpartition("@")
    try:
        yield parts._replace(netloc=f"{login}@127.0.0.1:{port}").geturl()
    finally:
        server.close()
        for writer in writers:
            writer.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def connections_taken(port: int) -> AsyncIterator[None]:
    """Take every connection slot with a startup message and nothing more, and take it again when it becomes free."""
    taking = [asyncio.create_task(_take_connection(port)) for _ in range(CONNECTIONS)]
    try:
        yield
    finally:
        for task in taking:
            task.cancel()
        await asyncio.gather(*taking, return_exceptions=True)


async def _take_connection(port: int) -> None:
    startup = struct.pack("!i", 196608) + f"user\0{SUPERUSER}\0database\0postgres\0\0".encode()
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(struct.pack("!i", len(startup) + 4) + startup)
                while await reader.read(1024):
                    pass
            finally:
                writer.close()
        await asyncio.sleep(0.1)


TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE usename LIKE 'payflow\\_%' AND pid <> pg_backend_pid()
ORDER BY random() LIMIT $1
"""
