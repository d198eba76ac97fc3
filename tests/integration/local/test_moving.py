"""A data folder is private; moved, renamed or copied it starts, and a copy leaves the running original alone."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import aio_pika
import asyncpg
import pytest
from aiormq.abc import FieldTable
from redis.asyncio import Redis as RedisClient
from redis.exceptions import AuthenticationError

from deploy.local import leftovers, lock, process, seed
from deploy.local.engines import RabbitMQ
from deploy.local.errors import LocalError
from deploy.local.home import PATH_BYTES_MAX, Home
from deploy.local.process import Process
from deploy.local.user import User, http_session
from tests.harness.folders import open_parent, open_to_others, read_as_nobody
from tests.harness.runs import Run, running
from tests.integration.local.test_permissions import IS_ROOT, make_old_home

SETTINGS = {"PAYFLOW_REVERSAL_AFTER_SECONDS": "20", "PAYFLOW_RATE_LIMITS": "off"}
WORKERS = ("transaction-worker-1", "transaction-worker-2")
RELAY = "transaction-relay"
KEPT_DOWN = (*WORKERS, RELAY)
WAIT_SECONDS_MAX = 120


@pytest.fixture
def parent() -> Iterator[Path]:
    with open_parent() as folder:
        yield folder


@pytest.mark.timeout(1200)
async def test_a_folder_is_private_and_has_its_money_once_moved(parent: Path) -> None:
    """A folder of an earlier version: no entry has permissions for others, whatever the umask, and no login works.

    Moved, it has its balances, completes a transfer, and two that were PENDING end: one at the broker, one in the outbox.
    """
    home = parent / "home"
    moved = parent / "a folder with spaces" / ("long" * 50) / "renamed"
    make_old_home(home)
    with running(home, os.environ | SETTINGS, umask=0, forked=True) as run:
        assert open_to_others(home) == []
        await refuse_logins(run)
        if IS_ROOT:
            assert read_as_nobody(parent), "or this test proves nothing"
            assert not any(read_as_nobody(path) for path in (home, run.home.stack, run.home.secrets, home / "logs"))
        pending = await leave_pending(run)
    assert open_to_others(home) == []
    moved.parent.mkdir(parents=True)
    home.rename(moved)
    for name in KEPT_DOWN:
        (moved / "down" / name).unlink()

    with running(moved, os.environ | SETTINGS, forked=True) as run:
        completed = await finish(run, pending)
        assert await balances(run) == {seed.ALICE: 100_000 - completed, seed.BOB: 100_000 + completed}
        demo = run.demo()
        assert (demo.returncode, demo.stderr) == (0, "")


async def refuse_logins(run: Run) -> None:
    """Every engine refuses a login without the password."""
    stack = run.wait_ready()
    database = stack["databases"]["wallet"]
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await asyncpg.connect(database.partition("//")[0] + "//payflow@" + database.rpartition("@")[2], password="")
    async with RedisClient.from_url("redis://" + stack["redis"].rpartition("@")[2]) as client:
        with pytest.raises(AuthenticationError):
            await client.ping()
    with pytest.raises(aio_pika.exceptions.AMQPError):
        await aio_pika.connect("amqp://guest:guest@" + stack["rabbitmq"].rpartition("@")[2])


async def leave_pending(run: Run) -> list[str]:
    """Two transfers of Alice that no worker has received: one command is at the broker, the other in the outbox."""
    keep_down(run, *WORKERS)
    first = await send(run, 1_000)
    await wait_published(run)
    keep_down(run, RELAY)
    return [first, await send(run, 100)]


def keep_down(run: Run, *names: str) -> None:
    pids = run.wait_ready()["pids"]
    for name in names:
        (run.home.down / name).touch(mode=0o600)
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while any(process.is_alive(pids[name]) for name in names):
        assert time.monotonic() < deadline
        time.sleep(0.05)


async def send(run: Run, amount: int) -> str:
    async with http_session() as session:
        alice = User(session, run.wait_ready()["gateway"], seed.ALICE, seed.PASSWORD)
        await alice.log_in()
        body = {"amount": amount, "currency": seed.CURRENCY, "to": {"email": seed.BOB}}
        sent = await alice.post("/transfers", body, **{"Idempotency-Key": f"moving-{amount}"})
    assert sent["status"] == "PENDING"
    return str(sent["id"])


async def wait_published(run: Run) -> None:
    """Wait until the relay has published the whole outbox."""
    connection = await asyncpg.connect(run.wait_ready()["databases"]["transaction"])
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while await connection.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL"):
            await asyncio.sleep(0.05)
    await connection.close()


async def finish(run: Run, ids: list[str]) -> int:
    """Wait until these transfers are terminal; the sum of the completed ones."""
    async with http_session() as session:
        alice = User(session, run.wait_ready()["gateway"], seed.ALICE, seed.PASSWORD)
        await alice.log_in()
        transfers = [await alice.outcome(await alice.get(f"/transfers/{one}")) for one in ids]
    return sum(transfer["amount"] for transfer in transfers if transfer["status"] == "COMPLETED")


async def balances(run: Run) -> dict[str, int]:
    async with http_session() as session:
        users = [User(session, run.wait_ready()["gateway"], email, seed.PASSWORD) for email in (seed.ALICE, seed.BOB)]
        for user in users:
            await user.log_in()
        return {user.email: (await user.wallet(seed.CURRENCY))["balance"] for user in users}


async def test_a_broker_starts_where_it_was_and_in_a_copied_folder(tmp_path: Path) -> None:
    """At the same path confirmed messages survive a restart; at another one, beside it, the queues are created again."""
    original, copy = RabbitMQ(tmp_path / "original"), RabbitMQ(tmp_path / "copy")
    await original.start()
    try:
        assert await publish(original.url) == 1
        await original.stop()
        shutil.copytree(original.directory, copy.directory, symlinks=True)

        await original.start()
        await copy.start()
        assert original.url != copy.url
        assert await publish(original.url) == 2
        assert await publish(copy.url) == 1
    finally:
        original.kill()
        copy.kill()


async def publish(url: str) -> int:
    """Publish one message to a quorum queue; how many are in it then."""
    connection = await aio_pika.connect(url)
    async with connection, asyncio.timeout(WAIT_SECONDS_MAX):
        channel = await connection.channel(publisher_confirms=True)
        arguments: FieldTable = {"x-queue-type": "quorum"}
        queue = await channel.declare_queue("kept", durable=True, arguments=arguments)
        message = aio_pika.Message(b"text", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, queue.name)
        found = await channel.declare_queue("kept", durable=True, arguments=arguments)
        return found.declaration_result.message_count or 0


def test_processes_of_the_original_are_not_ended_from_a_copy(tmp_path: Path) -> None:
    """The record of a copied folder names processes of the original: no start (even after `stop`), none ended."""
    original, copy, moved = tmp_path / "original", tmp_path / "copy", tmp_path / "moved"
    original.mkdir()
    example = Process("example", ["sleep", "60"], environment={}, directory=original, log=original / "example.log")
    example.spawn()
    try:
        leftovers.record(original / "processes.json", [example])
        shutil.copytree(original, copy)
        original.rename(moved)

        with pytest.raises(LocalError, match=r"was copied from .*original while that stack was running"):
            leftovers.refuse_copy(copy / "processes.json")
        leftovers.refuse_copy(moved / "processes.json")
        assert leftovers.end(copy / "processes.json") == []
        assert example.pid is not None
        with pytest.raises(LocalError, match="was copied from"):
            leftovers.refuse_copy(copy / "processes.json")
        assert leftovers.end(moved / "processes.json") == ["example"]
    finally:
        example.kill()


def test_a_copy_is_refused_while_its_original_runs_again(tmp_path: Path) -> None:
    """The recorded processes have ended: the lock and the record of the original show whether its stack runs."""
    original, copy = Home(tmp_path / "original"), Home(tmp_path / "copy")
    original.path.mkdir()
    leftovers.record(original.processes, [])
    shutil.copytree(original.path, copy.path)
    leftovers.refuse_copy(copy.processes)

    assert leftovers.end(copy.processes) == []
    with (
        lock.held(original.lock),
        pytest.raises(LocalError, match=rf"copied from .*original .*process {os.getpid()}\b"),
    ):
        leftovers.refuse_copy(copy.processes)
    example = Process("example", ["sleep", "60"], environment={}, directory=tmp_path, log=tmp_path / "example.log")
    example.spawn()
    try:
        leftovers.record(original.processes, [example])
        with pytest.raises(LocalError, match=rf"copied from .*original .*process {example.pid}\b"):
            leftovers.refuse_copy(copy.processes)
    finally:
        example.kill()
    leftovers.refuse_copy(copy.processes)


def test_a_copy_starts_while_another_folder_runs_at_the_path_of_its_original(tmp_path: Path) -> None:
    """The path alone does not identify the original."""
    original, copy = Home(tmp_path / "original"), Home(tmp_path / "copy")
    original.path.mkdir()
    leftovers.record(original.processes, [])
    shutil.copytree(original.path, copy.path)
    original.path.rename(tmp_path / "moved")
    original.path.mkdir()

    with lock.held(original.lock):
        leftovers.refuse_copy(copy.processes)


@pytest.mark.parametrize("name", ["it's mine", 'so "called"', "two\nlines", "x" * 100 + "/" + "y" * PATH_BYTES_MAX])
def test_a_path_that_an_engine_does_not_support_is_refused(tmp_path: Path, name: str) -> None:
    """One line says so before anything is started, and that PAYFLOW_HOME names another folder."""
    with pytest.raises(LocalError, match="PAYFLOW_HOME") as refused:
        Home(tmp_path / name).open()

    assert "\n" not in str(refused.value)
