"""The disk of PostgreSQL is full: transfers are refused, nothing is half-written, and it recovers once there is space.

The data folder and the write-ahead log (pg_wal) are on small file systems of their own, because they fail differently: a
table that cannot grow fails one statement, a log that cannot grow stops the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from deploy.local.roles import ROLES
from tests.chaos import timing
from tests.chaos.superuser import logged_in
from tests.chaos.timing import TimedPerson
from tests.harness.api import ApiClient
from tests.harness.books import faults_when_quiet
from tests.harness.drills import bound
from tests.harness.load import Sent, load
from tests.harness.stack import Stack, running

DATA_MEGABYTES = 200
LOG_MEGABYTES = 200
FULL_SECONDS = bound(3.0, 60.0)
"""How long the disk stays full after the first refusal."""

PATIENCE_SECONDS = bound(10.0, 5.0)
FELT_SECONDS_MAX = 90.0
HEALED_SECONDS_MAX = 60.0
PER_SECOND = 60
PAGE = 4096


class Disk:
    """A small in-memory file system, mounted at a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Use up all space."""
        for piece in (1 << 20, PAGE):
            with self._ballast.open("ab", buffering=0) as ballast, contextlib.suppress(OSError):
                while True:
                    ballast.write(bytes(piece))

    def clear(self) -> None:
        """Free the space again."""
        self._ballast.unlink(missing_ok=True)


@contextmanager
def disk(folder: Path, megabytes: int) -> Iterator[Disk]:
    """Mount a disk; without permission to mount the drill is skipped, which is not a pass."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}M,mode=755", "payflow-drill", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"NOT RUN: a full disk needs a small file system, and this user may not mount one ({NEEDED})")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


NEEDED = "be root, or: unshare --user --map-root-user --mount make test T=tests/chaos/test_disk_full.py"


@pytest.fixture(scope="module")
async def small(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Stack, Disk, Disk]]:
    """A stack with little disk space: data and write-ahead log on one small disk each."""
    home = tmp_path_factory.mktemp("disk-full")
    with disk(home / "postgres", DATA_MEGABYTES) as data, disk(home / "log-disk", LOG_MEGABYTES) as changes:
        async with running(home) as stack:
            await stack.take_down("postgres")
            _move(home / "postgres" / "data" / "pg_wal", changes.folder)
            stack.bring_up("postgres")
            for role in ROLES:
                await stack.ready(role.name)
            yield stack, data, changes
            data.clear()
            changes.clear()


def _move(folder: Path, to: Path) -> None:
    """Move a folder with its ownership, and leave a link to it."""
    subprocess.run(["cp", "-a", str(folder), str(to)], check=True)
    subprocess.run(["rm", "-r", str(folder)], check=True)
    folder.symlink_to(to / folder.name)


@pytest.fixture(scope="module")
async def api_and_users(small: tuple[Stack, Disk, Disk]) -> AsyncIterator[tuple[ApiClient, list[TimedPerson]]]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        api = ApiClient(session, small[0]["gateway"])
        yield api, await timing.register_timed(api, await api.login("ops@example.com", "payflow-demo-1"), 4)


@pytest.mark.parametrize("which", ["data", "log"])
@pytest.mark.timeout(bound(300, 900))
async def test_a_full_disk(
    small: tuple[Stack, Disk, Disk], api_and_users: tuple[ApiClient, list[TimedPerson]], which: str
) -> None:
    """Guarantee 38: without space for tables or for the log, transfers are refused with 503; with space it recovers."""
    stack, data, changes = small
    full = data if which == "data" else changes
    api, users = api_and_users
    pids = {role.name: stack["pids"][role.name] for role in ROLES}
    async with load(api, users, per_second=PER_SECOND) as sent:
        await sent.more(20)
        full.fill()
        filled = time.monotonic()
        try:
            await refused(stack, users, filled)
            refused_at = time.monotonic()
            await asyncio.sleep(FULL_SECONDS)
            readable = (await users[0].get("/transfers")).status
        finally:
            full.clear()
        cleared = time.monotonic()
        await sent.more(PER_SECOND, seconds=HEALED_SECONDS_MAX)
        healed = time.monotonic()
    broken = timing.phase(users, filled, cleared)
    timing.report(
        f"38 {which}",
        felt_after_s=round(refused_at - filled, 1),
        full_s=round(cleared - filled, 1),
        healed_after_s=round(healed - cleared, 2),
        accepted=len(sent.ids),
        broken=broken.figures(),
    )
    await check(stack, sent)
    assert pids == {role.name: stack["pids"][role.name] for role in ROLES}
    assert set(broken.statuses) <= {200, 202, 503, 504}, broken.statuses
    assert [] == [call for call in broken.faults if call.status == 503 and call.retry_after is None]
    assert broken.slowest < PATIENCE_SECONDS
    if which == "data":
        assert 200 == readable


async def refused(stack: Stack, users: list[TimedPerson], filled: float) -> None:
    """Wait until a request was refused because of the full disk.

    Free space inside tables and existing log files are used up first; switching the log skips the latter.
    """
    async with asyncio.timeout(FELT_SECONDS_MAX):
        while not timing.phase(users, filled).statuses[503]:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                async with logged_in(stack) as connection:
                    await connection.execute("SELECT pg_switch_wal()")
            await asyncio.sleep(0.1)


async def check(stack: Stack, sent: Sent) -> None:
    """Check that nothing is lost or half-written, and that every role is ready."""
    assert [] == sent.faults() + await faults_when_quiet(stack, sent.ids, seconds=120)
    for role in ROLES:
        await stack.ready(role.name)
