from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aio_pika
import asyncpg
import pytest
from redis.asyncio import Redis as RedisClient

from deploy.local import process
from deploy.local.engines import Engine, Postgres, RabbitMQ, Redis, postgres
from deploy.local.errors import LocalError


async def wait_down(engine: Engine) -> None:
    deadline = time.monotonic() + 5
    while engine.pid is not None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@pytest.fixture
async def postgres_below(tmp_path: Path) -> AsyncIterator[Postgres]:
    engine = Postgres(tmp_path / "with a space" / "postgres", settings={"shared_buffers": "16MB"})
    await engine.start()
    yield engine
    engine.kill()


async def test_postgres_keeps_committed_rows_through_kill_9(postgres_below: Postgres) -> None:
    """Committed rows survive a kill of the server and all its processes, at the same address."""
    address = postgres_below.dsn("postgres")
    connection = await asyncpg.connect(address)
    await connection.execute("CREATE TABLE kept (number int); INSERT INTO kept SELECT generate_series(1, 1000)")
    assert postgres_below.pid is not None
    os.kill(postgres_below.pid, signal.SIGKILL)
    await wait_down(postgres_below)
    await connection.close()

    postgres_below.spawn()  # as the supervisor does, at once
    await postgres_below.wait_ready()

    assert postgres_below.dsn("postgres") == address
    connection = await asyncpg.connect(address)
    assert await connection.fetchval("SELECT count(*) FROM kept") == 1000
    await connection.close()


async def test_postgres_starts_if_another_process_has_the_id_of_its_last_run(postgres_below: Postgres) -> None:
    """The lock file of a killed run contains a process id that another process may have by now."""
    postgres_below.kill()
    (postgres_below.data / "postmaster.pid").write_text(f"{os.getpid()}\n{postgres_below.data}\n")

    await postgres_below.start()

    assert postgres_below.pid is not None


async def test_postgres_is_durable_and_private(postgres_below: Postgres) -> None:
    """The settings that money depends on are on, and no other machine can connect."""
    connection = await asyncpg.connect(postgres_below.dsn("postgres"))
    names = ("fsync", "synchronous_commit", "full_page_writes", "listen_addresses", "unix_socket_directories", "jit")
    shown = {name: await connection.fetchval(f"SHOW {name}") for name in names}
    await connection.close()

    assert shown == {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "jit": "off",
    }


async def test_provisioning_can_be_repeated(postgres_below: Postgres) -> None:
    """Databases belong to their owners, request roles are bounded, and passwords are set."""
    await postgres_below.provision()
    await postgres_below.provision()

    owner = await asyncpg.connect(postgres_below.dsn("wallet", "payflow_wallet_owner"))
    await owner.execute("CREATE TABLE accounts (id int)")
    assert await owner.fetchval("SHOW lock_timeout") == "0"
    await owner.close()
    service = await asyncpg.connect(postgres_below.dsn("wallet", "payflow_wallet"))
    names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
    assert [await service.fetchval(f"SHOW {name}") for name in names] == ["2s", "5s", "5s"]
    await service.close()
    proof = await asyncpg.connect(postgres_below.dsn("wallet", "payflow_wallet_proof"))
    assert await proof.fetchval("SHOW statement_timeout") == "2min"
    assert await proof.fetchval("SHOW default_transaction_read_only") == "on"
    await proof.close()


async def test_provisioning_changes_passwords(provisioned: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password that has changed is set by the next run; one that is missing stops it before anything has changed."""
    before = provisioned.dsn("notification", "payflow_notification")
    values = provisioned._secrets._load()
    monkeypatch.setitem(values, "postgres:payflow_notification", "changed-by-hand-1")
    await provisioned.provision()

    await (await asyncpg.connect(provisioned.dsn("notification", "payflow_notification"))).close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(before)

    monkeypatch.setitem(values, "postgres:payflow_scaler", "")
    monkeypatch.setitem(values, "postgres:payflow_notification", "changed-by-hand-2")
    with pytest.raises(LocalError, match="missing, or shorter than 12 characters: payflow_scaler_password"):
        await provisioned.provision()
    monkeypatch.setitem(values, "postgres:payflow_notification", "changed-by-hand-1")
    await (await asyncpg.connect(provisioned.dsn("notification", "payflow_notification"))).close()
    monkeypatch.undo()
    await provisioned.provision()


async def test_a_missing_password_file_stops_provisioning(
    provisioned: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role without a file of its password is not left without a password."""
    monkeypatch.setattr(postgres, "ROLES", [role for role in postgres.ROLES if role != "payflow_notification"])

    with pytest.raises(LocalError, match="psql failed"):
        await provisioned.provision()
    await (await asyncpg.connect(provisioned.dsn("notification", "payflow_notification"))).close()


async def test_the_exporter_reads_statistics_only(provisioned: Postgres) -> None:
    """payflow_monitor sees the queries of all sessions, and can connect to no database of a service."""
    connection = await asyncpg.connect(provisioned.dsn("postgres", "payflow_monitor"))
    assert await connection.fetchval("SELECT pg_has_role('pg_monitor', 'USAGE')")
    await connection.close()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(provisioned.dsn("transaction", "payflow_monitor"))


@pytest.mark.parametrize(
    "role", ["payflow_auth", "payflow_wallet_proof", "payflow_transaction_owner", "payflow_scaler"]
)
@pytest.mark.parametrize("database", ["notification", "postgres", "template1"])
async def test_a_role_connects_to_its_own_database_only(provisioned: Postgres, role: str, database: str) -> None:
    """Every other database refuses the login."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(provisioned.dsn(database, role))


async def test_a_service_role_owns_nothing(provisioned: Postgres) -> None:
    """It cannot create tables: it has only what the migrations grant."""
    connection = await asyncpg.connect(provisioned.dsn("wallet", "payflow_wallet"))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("CREATE TABLE mine (id int)")
    await connection.close()


@pytest.fixture(scope="module")
async def provisioned(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Postgres]:
    engine = Postgres(tmp_path_factory.mktemp("provisioned") / "postgres", settings={"shared_buffers": "16MB"})
    await engine.start()
    await engine.provision()
    yield engine
    await engine.stop()


async def test_data_without_its_password_is_an_error(tmp_path: Path) -> None:
    """Lost secrets are reported in one line, not as a login that never works."""
    engine = Postgres(tmp_path, settings={"shared_buffers": "16MB"})
    await engine.start()
    await engine.stop()
    (tmp_path / "secrets.json").unlink()

    with pytest.raises(LocalError, match=r"password of .* is lost"):
        await Postgres(tmp_path).start()


async def test_redis_keeps_its_data_through_kill_9(tmp_path: Path) -> None:
    """A key written just before survives kill -9, at the same address and with a password."""
    engine = Redis(tmp_path)
    await engine.start()
    try:
        address = engine.url
        async with RedisClient.from_url(address) as client:
            await client.set("kept", "yes")
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        await wait_down(engine)

        engine.spawn()
        await engine.wait_ready()

        assert engine.url == address
        async with RedisClient.from_url(address) as client:
            assert await client.get("kept") == b"yes"
            assert (await client.config_get("maxmemory-policy"))["maxmemory-policy"] == "noeviction"
            assert (await client.config_get("appendfsync"))["appendfsync"] == "everysec"
    finally:
        engine.kill()


async def test_an_engine_changes_its_port_if_it_is_taken(tmp_path: Path) -> None:
    """Another program may have taken a port between two runs: the engine chooses another one."""
    engine = Redis(tmp_path)
    await engine.start()
    port = engine._port()
    await engine.stop()

    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        await engine.start()
        moved = engine._port()
        engine.kill()

    assert moved != port


async def test_leftovers_of_an_engine_are_ended_by_its_next_start(tmp_path: Path) -> None:
    """Even without a record: a server whose working directory is the engine's folder belongs to it."""
    lost = Redis(tmp_path)
    await lost.start()
    pid = lost.pid
    assert pid is not None

    found = Redis(tmp_path)
    await found.start()
    try:
        assert not process.is_alive(pid)
        assert found.pid != pid
    finally:
        found.kill()
        lost.kill()


async def test_rabbitmq_keeps_confirmed_messages_through_kill_9(tmp_path: Path) -> None:
    """Messages confirmed by a quorum queue survive kill -9; it listens on the loopback only."""
    engine = RabbitMQ(tmp_path)
    await engine.start()
    try:
        address = engine.url
        await publish(address, 50)
        await wait_until_queue_is_on_disk(engine)
        assert engine.pid is not None
        assert listens_on_loopback_only(engine.pid)
        os.kill(engine.pid, signal.SIGKILL)
        await wait_down(engine)

        engine.spawn()
        await engine.wait_ready()

        assert engine.url == address
        assert await consume(address, 50) == [f"{number}".encode() for number in range(50)]
    finally:
        engine.kill()
    assert not process.in_directory(engine.directory, programs=engine.programs), "no port mapper is left running"


async def wait_until_queue_is_on_disk(engine: RabbitMQ) -> None:
    """RabbitMQ 3.10 stores a *new* quorum queue up to half a second late; killed before, it gets no leader again."""
    deadline = time.monotonic() + 5
    while not any(b"kept" in names.read_bytes() for names in engine.directory.glob("mnesia/*/quorum/*/names.dets")):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def publish(address: str, count: int) -> None:
    connection = await aio_pika.connect(address)
    channel = await connection.channel(publisher_confirms=True)
    queue = await channel.declare_queue("kept", durable=True, arguments={"x-queue-type": "quorum"})
    for number in range(count):
        message = aio_pika.Message(f"{number}".encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, queue.name)
    await connection.close()


async def consume(address: str, count: int) -> list[bytes]:
    connection = await aio_pika.connect(address)
    channel = await connection.channel()
    queue = await channel.declare_queue("kept", durable=True, arguments={"x-queue-type": "quorum"})
    bodies = []
    async with queue.iterator(no_ack=True, timeout=10) as messages:
        async for message in messages:
            bodies.append(message.body)
            if len(bodies) == count:
                break
    await connection.close()
    return bodies


def listens_on_loopback_only(pid: int) -> bool:
    """Whether every listening socket of a process is bound to 127.0.0.1."""
    sockets = {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()}
    inodes = {link[8:-1] for link in sockets if link.startswith("socket:[")}
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                listening.append(fields[1].split(":")[0])
    assert len(listening) >= 4, "amqp, management, metrics, distribution"
    return set(listening) == {"0100007F"}
