"""The script that makes backups, on a real server: everything comes back, or a moment of it, or nothing at all."""

from __future__ import annotations

import asyncio
import os
import shutil
import socketserver
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from deploy.local.engines import Postgres
from deploy.local.home import REPOSITORY
from deploy.local.ports import LOOPBACK
from tests.harness.databases import DataFolder

SCRIPT = REPOSITORY / "deploy" / "backup" / "backup.sh"
SECONDS_MAX = 60.0


@dataclass
class Server:
    """A server, and the folder of its backups."""

    postgres: Postgres
    folder: Path
    moment: str = ""
    """A time after the second row and before the third."""

    def run(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the script to its end, with changes to its environment."""
        command = [*self.postgres._launcher(), str(SCRIPT), *arguments]
        return subprocess.run(
            command, env=self.environment | changes, capture_output=True, text=True, check=False, timeout=SECONDS_MAX
        )

    @property
    def environment(self) -> dict[str, str]:
        """The login for backups, and where they are."""
        return {
            "PATH": f"{self.postgres.find_programs()}:{os.environ['PATH']}",
            "PGHOST": LOOPBACK,
            "PGPORT": str(self.postgres._port()),
            "PGPASSWORD": self.postgres._secrets.password("postgres:payflow_backup"),
            "PAYFLOW_BACKUP_FOLDER": str(self.folder),
            "TMPDIR": str(self.folder),
        }

    async def insert(self, number: int) -> str:
        """Add a row to the table of the tests, which is in two databases; returns the time."""
        for database in ("wallet", "transaction"):
            await self.execute(database, "CREATE TABLE IF NOT EXISTS numbers (number int)")
            await self.execute(database, "INSERT INTO numbers VALUES ($1)", number)
        return str(await self.execute("postgres", "SELECT clock_timestamp()"))

    async def numbers(self) -> list[object]:
        """The rows in both databases."""
        return [
            await self.execute(database, "SELECT array_agg(number ORDER BY number) FROM numbers")
            for database in ("wallet", "transaction")
        ]

    async def execute(self, database: str, statement: str, *arguments: object) -> object:
        """Run a statement and return its value."""
        connection = await asyncpg.connect(self.postgres.dsn(database))
        try:
            return await connection.fetchval(statement, *arguments)
        finally:
            await connection.close()

    @asynccontextmanager
    async def receiving(self) -> AsyncIterator[None]:
        """Receive the log during the block."""
        command = [*self.postgres._launcher(), str(SCRIPT), "wal"]
        receiver = await asyncio.create_subprocess_exec(
            *command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            async with asyncio.timeout(SECONDS_MAX):
                while not await self._is_streaming():
                    await asyncio.sleep(0.05)
            yield
        finally:
            receiver.terminate()
            await receiver.wait()

    async def received(self) -> None:
        """Wait until the log is received up to now."""
        now = await self.execute("postgres", "SELECT pg_current_wal_flush_lsn()::text")
        statement = "SELECT count(*) > 0 FROM pg_stat_replication WHERE flush_lsn >= $1::text::pg_lsn"
        async with asyncio.timeout(SECONDS_MAX):
            while not await self.execute("postgres", statement, now):
                await asyncio.sleep(0.05)

    async def _is_streaming(self) -> bool:
        statement = "SELECT count(*) > 0 FROM pg_stat_replication WHERE application_name = 'payflow_backup'"
        return bool(await self.execute("postgres", statement))


@pytest.fixture(scope="module")
async def lost(tmp_path_factory: pytest.TempPathFactory, data_folder: DataFolder) -> Server:
    """What is left of a server with the databases of all services: its backups, while it was written."""
    folder = tmp_path_factory.mktemp("server")
    postgres = Postgres(folder / "postgres", settings={"shared_buffers": "32MB"})
    await data_folder.copy(postgres.directory, postgres.directory / "secrets.json")
    await postgres.start()
    server = Server(postgres, folder / "backups")
    server.folder.mkdir()
    owner = postgres.data.stat()
    os.chown(server.folder, owner.st_uid, owner.st_gid)
    try:
        async with server.receiving():
            await server.insert(1)
            made = server.run("base")
            server.moment = await server.insert(2)
            await server.execute("postgres", "SELECT pg_switch_wal()")
            await server.insert(3)
            await server.received()
            verified = server.run("verify")
        assert (made.returncode, made.stderr) == (0, "")
        assert (verified.returncode, verified.stderr) == (0, "")
    finally:
        postgres.kill()
    postgres.data.rename(postgres.directory / "gone")
    return server


@contextmanager
def refusing() -> Iterator[int]:
    """What a server sends that does not accept connections yet; yields its port."""
    fields = b"SFATAL\0C57P03\0Mthe database system is starting up\0\0"

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            # Eight bytes ask for encryption, which it does not have.
            while len(self.request.recv(1024)) == 8:
                self.request.sendall(b"N")
            self.request.sendall(b"E" + (len(fields) + 4).to_bytes(4) + fields)

    with socketserver.TCPServer((LOOPBACK, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@asynccontextmanager
async def started(server: Server) -> AsyncIterator[None]:
    """Start what was restored; remove it afterwards."""
    await server.postgres.start()
    try:
        yield
    finally:
        server.postgres.kill()
        shutil.rmtree(server.postgres.data)


async def test_a_lost_server_comes_back(lost: Server) -> None:
    """Guarantee 66: all databases are restored to one moment, the last that was received; existing data are never replaced."""
    restored = lost.run("restore", str(lost.postgres.data))
    again = lost.run("restore", str(lost.postgres.data))

    assert (restored.returncode, restored.stderr) == (0, "")
    assert again.stderr == f"payflow: {lost.postgres.data} is not empty: nothing was restored\n"
    async with started(lost):
        assert [[1, 2, 3], [1, 2, 3]] == await lost.numbers()


async def test_a_moment_comes_back(lost: Server) -> None:
    """All databases are restored to a moment that is given."""
    restored = lost.run("restore", str(lost.postgres.data), lost.moment)

    assert (restored.returncode, restored.stderr) == (0, "")
    async with started(lost):
        assert [[1, 2], [1, 2]] == await lost.numbers()


async def test_an_end_that_was_not_received_is_not_restored(lost: Server) -> None:
    """A time after the end of the log, or before the first backup, is one line, and leaves no folder half restored."""
    target = lost.postgres.directory / "target"

    late = lost.run("restore", str(target), "2100-01-01 00:00:00+00")
    early = lost.run("restore", str(target), "2000-01-01 00:00:00+00")

    assert late.stderr == "payflow: the recovery failed: recovery ended before configured recovery target was reached\n"
    assert "payflow: there is no base backup that ended before 2000-01-01 00:00:00+00" in early.stderr
    assert list(target.iterdir()) == []


def test_a_server_that_refuses_connections_keeps_its_data(lost: Server, tmp_path: Path) -> None:
    """A server that starts, recovers or stops runs, although nothing can log in: its data are not moved aside."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "PG_VERSION").touch()

    with refusing() as port:
        replaced = lost.run("replace", str(data), PGPORT=str(port))

    assert replaced.stderr == f"payflow: a server responds at {LOOPBACK}: stop it first\n"
    assert list(tmp_path.iterdir()) == [data]


async def test_damage_is_found(lost: Server) -> None:
    """A missing part of the log fails the verification by name; a changed file of the base backup stops a restore."""
    segment = sorted(path for path in lost.folder.glob("*/wal/*") if not path.suffix)[-2]
    [file] = lost.folder.glob("*/base/*/data/PG_VERSION")
    text = file.read_text()

    segment.rename(segment.with_suffix(".kept"))
    missing = lost.run("verify")
    segment.with_suffix(".kept").rename(segment)
    file.write_text("16\n")
    damaged = lost.run("restore", str(lost.postgres.data))
    file.write_text(text)

    assert missing.stderr == f"payflow: the log is not complete: {segment} is missing\n"
    assert damaged.stderr.splitlines()[-1] == f"payflow: {file.parents[1]} is damaged"
    assert (missing.returncode, damaged.returncode, lost.postgres.data.exists()) == (1, 1, False)
