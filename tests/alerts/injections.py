"""The faults: each breaks one thing on entry, keeps it broken during the block, and heals it afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aio_pika
import aiohttp
import asyncpg

from services.contracts.messages import encode_envelope
from services.contracts.topology import FINALIZED_QUEUE, REQUESTED_QUEUE, TRANSFERS_REQUESTED
from tests.alerts.rig import Rig
from tests.chaos.proxy import Edge
from tests.chaos.superuser import logged_in
from tests.harness import broker
from tests.harness.outbox_items import make_item

Injection = Callable[[Rig], AbstractAsyncContextManager[None]]

DISK_MEGABYTES = 16
BALLAST_MEGABYTES = 12
CONNECTIONS_SHARE = 0.9
LOWEST_PRIORITY = 19
FINALIZED_SECONDS_MAX = 30.0
READERS = 40
READ_SECONDS = 0.5
HASH_BYTES = 32
EXPIRES_IN = timedelta(hours=1)


def kept_down(*names: str) -> Injection:
    """Keep processes or engines of the stack down."""

    @asynccontextmanager
    async def inject(rig: Rig) -> AsyncIterator[None]:
        await asyncio.gather(*(rig.system.stack.take_down(name) for name in names))
        try:
            yield
        finally:
            for name in names:
                rig.system.stack.bring_up(name)

    return inject


def unmonitored(name: str) -> Injection:
    """Keep an exporter or a server of the monitoring down."""

    @asynccontextmanager
    async def inject(rig: Rig) -> AsyncIterator[None]:
        rig.servers.take_down(name)
        try:
            yield
        finally:
            rig.servers.bring_up(name)

    return inject


def unreachable(*edges: str, waiting: int = 0) -> Injection:
    """Cut connections, each `caller>callee`; with `waiting`, so many transfers are sent meanwhile and no others."""

    @asynccontextmanager
    async def inject(rig: Rig) -> AsyncIterator[None]:
        broken: Sequence[Edge] = [rig.system.edges[name] for name in edges]
        async with AsyncExitStack() as load:
            if waiting:
                await load.enter_async_context(rig.traffic.paused())
            for edge in broken:
                edge.cut()
            try:
                await rig.traffic.pay(waiting)
                yield
            finally:
                for edge in broken:
                    edge.heal()

    return inject


def simulating(word: str, *, every: int) -> Injection:
    """Simulate a failure on one of so many payments."""

    @asynccontextmanager
    async def inject(rig: Rig) -> AsyncIterator[None]:
        with rig.traffic.simulating(word, every=every):
            yield

    return inject


@asynccontextmanager
async def table_locked(rig: Rig) -> AsyncIterator[None]:
    """Lock the transfers, as a careless change of the schema does, while many users read: all connections of a pool wait."""
    async with logged_in(rig.system.stack, "transaction") as superuser, superuser.transaction():
        await superuser.execute("LOCK TABLE transfers IN ACCESS EXCLUSIVE MODE")
        reading = [asyncio.create_task(_read_transfers(rig)) for _ in range(READERS)]
        try:
            yield
        finally:
            for reader in reading:
                reader.cancel()
            await asyncio.wait(reading)


@asynccontextmanager
async def mail_refused(rig: Rig) -> AsyncIterator[None]:
    """A mail server that accepts nothing: the folder that e-mails are written to is a file."""
    folder = rig.system.stack.home / "mail"
    kept = folder.with_name("mail.kept")
    if folder.exists():
        folder.rename(kept)
    folder.touch()
    try:
        for person in rig.traffic.people:
            await person.send("POST", "/auth/password/forgot", json={"email": person.email})
        yield
    finally:
        folder.unlink()
        if kept.exists():
            kept.rename(folder)


@asynccontextmanager
async def queue_unresponsive(rig: Rig) -> AsyncIterator[None]:
    """Suspend the process of a quorum queue within the broker: to its clients, a queue without a leader."""
    name = f"'%2F_{FINALIZED_QUEUE.name}'"
    node = broker.node_of(rig.system.stack)
    await node.evaluate(f"sys:suspend({name}).")
    try:
        yield
    finally:
        await node.evaluate(f"sys:resume({name}).")


@asynccontextmanager
async def other_request(rig: Rig) -> AsyncIterator[None]:
    """Send the wallet a known transfer id with another amount, while that transfer is PENDING again.

    Afterwards the transfer is as before, and an operator discards the command, which was dead-lettered.
    """
    stack = rig.system.stack
    transfer = await _completed(rig)
    async with logged_in(stack, "transaction") as superuser:
        await superuser.execute("SET session_replication_role = replica")
        await superuser.execute(_PENDING_AGAIN, transfer["id"])
        await _publish(rig, _command(transfer))
        try:
            yield
        finally:
            await superuser.execute(_AS_BEFORE, *(transfer[name] for name in _FINAL))
            await _discard_all(rig)


@asynccontextmanager
async def money_created(rig: Rig) -> AsyncIterator[None]:
    """Add one minor unit to the balance of a wallet, as a superuser who bypasses every trigger."""
    async with logged_in(rig.system.stack, "wallet") as superuser:
        await superuser.execute("SET session_replication_role = replica")
        change = "UPDATE accounts SET posted = posted + $2 WHERE id = $1::text::uuid"
        assert "UPDATE 1" == await superuser.execute(change, rig.idle.wallet_id, 1)
        try:
            yield
        finally:
            await superuser.execute(change, rig.idle.wallet_id, -1)


@asynccontextmanager
async def backup_stopped(rig: Rig) -> AsyncIterator[None]:
    """The replication slot of backups without its receiver."""
    async with logged_in(rig.system.stack) as superuser:
        await superuser.execute("SELECT pg_create_physical_replication_slot('payflow_backup')")
        try:
            yield
        finally:
            await superuser.execute("SELECT pg_drop_replication_slot('payflow_backup')")


@asynccontextmanager
async def connections_taken(rig: Rig) -> AsyncIterator[None]:
    """Idle sessions until most connections of the server are in use."""
    async with AsyncExitStack() as sessions:
        first = await sessions.enter_async_context(logged_in(rig.system.stack))
        maximum = int(await first.fetchval("SHOW max_connections"))
        in_use = int(await first.fetchval("SELECT count(*) FROM pg_stat_activity WHERE datname IS NOT NULL"))
        for _ in range(round(CONNECTIONS_SHARE * maximum) - in_use):
            await sessions.enter_async_context(logged_in(rig.system.stack))
        yield


@asynccontextmanager
async def processors_busy(_rig: Rig) -> AsyncIterator[None]:
    """One busy loop for each processor. They yield to all other processes, so that they disturb no other proof."""
    context = multiprocessing.get_context("spawn")
    loops = [context.Process(target=_spin, daemon=True) for _ in range(os.cpu_count() or 1)]
    for loop in loops:
        loop.start()
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()


@asynccontextmanager
async def disk_nearly_full(_rig: Rig) -> AsyncIterator[None]:
    """A small disk of its own, mounted and nearly full; needs root."""
    with TemporaryDirectory() as folder, _disk(Path(folder)) as disk:
        (disk / "ballast").write_bytes(bytes(BALLAST_MEGABYTES << 20))
        try:
            yield
        finally:
            (disk / "ballast").unlink()


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[Path]:
    """An ext4 file system in a file: the rules leave out file systems in memory."""
    image, mounted = folder / "image", folder / "disk"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(DISK_MEGABYTES << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mounted)], check=True)
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "--lazy", str(mounted)], check=True)


def _spin() -> None:
    os.nice(LOWEST_PRIORITY)
    while True:
        pass


async def _read_transfers(rig: Rig) -> None:
    while True:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            await rig.idle.get("/transfers")
        await asyncio.sleep(READ_SECONDS)


async def _publish(rig: Rig, body: bytes) -> None:
    async with broker.channel(rig.system.stack) as channel:
        await channel.default_exchange.publish(aio_pika.Message(body, delivery_mode=2), REQUESTED_QUEUE.name)


def _command(transfer: asyncpg.Record) -> bytes:
    """The command of a transfer as another request."""
    now = datetime.now(UTC)
    changed = {"amount": transfer["amount"] + 1, "request_hash": bytes(HASH_BYTES), "expires_at": now + EXPIRES_IN}
    item = make_item(TRANSFERS_REQUESTED, dict(transfer) | changed)
    return encode_envelope(TRANSFERS_REQUESTED, [item], sent_at=now)


async def _discard_all(rig: Rig) -> None:
    waiting = (await rig.operator.get("/ops/dead-letters")).body["items"]
    for each in waiting:
        await rig.operator.post(f"/ops/dead-letters/{each['id']}/discard", {"reason": "made by make alerts-prove"})


async def _completed(rig: Rig) -> asyncpg.Record:
    """A transfer of a user who takes no part in the load, completed."""
    sent: Any = await rig.idle.send_money(rig.traffic.people[0], 1, wait=20)
    await rig.idle.finalized(sent.body["id"], seconds=FINALIZED_SECONDS_MAX)
    statement = "SELECT * FROM transfers WHERE id = $1::text::uuid"
    return (await rig.system.query("transaction", statement, sent.body["id"]))[0]


_FINAL = ("id", "completed_at", "finalized_at", "expires_at")

_PENDING_AGAIN = """
UPDATE transfers SET status = 'PENDING', completed_at = null, finalized_at = null,
    expires_at = clock_timestamp() + interval '1 hour'
WHERE id = $1
"""

_AS_BEFORE = """
UPDATE transfers SET status = 'COMPLETED', completed_at = $2, finalized_at = $3, expires_at = $4, conflicted_at = null
WHERE id = $1
"""
