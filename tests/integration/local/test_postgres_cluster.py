"""Three PostgreSQL nodes under Patroni: a pool finds each new leader by itself, and nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from deploy.local.engines import PostgresCluster
from deploy.local.engines.patroni import PatroniNode
from deploy.local.errors import LocalError
from deploy.local.ports import Ports, is_free
from deploy.secrets.store import Secrets
from services.chassis.database import DatabaseUnavailable, Pool, close_pool, connection, open_pool

PATIENT_SECONDS = 150.0


@pytest.fixture(scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PostgresCluster]:
    folder = tmp_path_factory.mktemp("cluster")
    made = PostgresCluster(
        folder,
        ports=Ports(folder / "ports.json"),
        secrets=Secrets(folder / "secrets.json"),
        log=lambda name: folder / f"{name}.log",
    )
    made.choose_ports()
    try:
        await asyncio.gather(*(part.start() for part in made.parts))
        await made.provision()
        yield made
    finally:
        for part in reversed(made.parts):
            part.kill()


@pytest.fixture
async def pool(cluster: PostgresCluster) -> AsyncIterator[Pool]:
    opened = await open_pool(cluster.dsn("wallet"), name="test", size_max=4)
    yield opened
    await close_pool(opened)


class Writer:
    """Inserts rows one after the other, and remembers those that were acknowledged."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.sent = 0
        self.acknowledged: list[int] = []

    async def run(self) -> None:
        while True:
            self.sent += 1
            try:
                async with connection(self._pool) as borrowed:
                    await borrowed.execute("INSERT INTO written VALUES ($1)", self.sent)
            except DatabaseUnavailable:
                await asyncio.sleep(0.05)
            else:
                self.acknowledged.append(self.sent)

    async def until_more(self, count: int = 20) -> None:
        """Wait until so many more rows are acknowledged."""
        aim = len(self.acknowledged) + count
        async with asyncio.timeout(PATIENT_SECONDS):
            while len(self.acknowledged) < aim:
                await asyncio.sleep(0.05)


@pytest.fixture
async def writer(pool: Pool) -> AsyncIterator[Writer]:
    """A writer that runs; afterwards every row it was acknowledged must be there."""
    async with connection(pool) as borrowed:
        await borrowed.execute("CREATE TABLE IF NOT EXISTS written (number bigint)")
        await borrowed.execute("TRUNCATE written")
    running = Writer(pool)
    task = asyncio.create_task(running.run())
    await running.until_more()
    yield running
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    async with connection(pool) as borrowed:
        found = {row["number"] for row in await borrowed.fetch("SELECT number FROM written")}
    assert set(running.acknowledged) <= found


async def leader_of(cluster: PostgresCluster) -> PatroniNode:
    async with asyncio.timeout(PATIENT_SECONDS):
        while True:
            leader = await cluster.leader()
            if leader is not None and await cluster.is_replicated(replicas=2):
                return leader
            await asyncio.sleep(0.1)


async def test_planned_switchover(cluster: PostgresCluster, writer: Writer) -> None:
    """The lead is handed over: writes continue on the new leader, and the former one follows it."""
    former = await leader_of(cluster)
    assert await former.switch_over()
    await writer.until_more()
    assert former is not await leader_of(cluster)


async def test_leader_killed(cluster: PostgresCluster, writer: Writer) -> None:
    """The leader is killed and stays away: another one leads, and the pool reaches it without a restart."""
    former = await leader_of(cluster)
    former.kill()
    await writer.until_more()
    leader = await cluster.leader()
    assert leader not in (None, former)
    former.spawn()
    await leader_of(cluster)


async def test_replicas_are_read_only(cluster: PostgresCluster) -> None:
    """The second address leads to a standby, and only to one."""
    await leader_of(cluster)
    address = cluster.replica_dsn("wallet", "payflow")
    assert address is not None
    async with asyncio.timeout(PATIENT_SECONDS):
        while True:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                opened = await asyncpg.connect(address)
                break
            await asyncio.sleep(0.1)
    try:
        assert await opened.fetchval("SELECT pg_is_in_recovery()")
    finally:
        await opened.close()


def test_recorded_port_in_use(tmp_path: Path) -> None:
    """A port that the nodes of etcd have recorded is not replaced: the error names it."""
    ports = Ports(tmp_path / "ports.json")
    made = PostgresCluster(
        tmp_path, ports=ports, secrets=Secrets(tmp_path / "secrets.json"), log=lambda name: tmp_path / name
    )
    made.choose_ports()
    port = ports.get("etcd-2_peer")
    assert is_free(port)

    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(LocalError, match=f"port {port} of etcd-2 is used by another program"),
    ):
        made.choose_ports()
