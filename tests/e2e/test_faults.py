"""What clients see during an outage, and recovery without intervention."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from uuid import uuid4

import aiohttp
import asyncpg
import pytest
import redis.asyncio as redis

from tests.chaos.superuser import logged_in
from tests.harness.api import PASSWORD, Person, Response
from tests.harness.stack import Stack


async def test_redis_flushed_or_down(stack: Stack, alice: Person, bob: Person) -> None:
    """Guarantee 20: with Redis empty, frozen or down, a key still means one transfer, and no request waits long."""
    key = uuid4().hex
    first = await alice.send_money(bob, 1, key=key)
    cache = redis.from_url(stack["redis"])
    await cache.flushall()
    await cache.aclose()
    flushed = await alice.send_money(bob, 1, key=key)
    pid = stack["pids"]["redis"]

    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        frozen = await alice.send_money(bob, 1, key=key)
        took = time.monotonic() - began
    finally:
        os.kill(pid, signal.SIGCONT)
    await stack.take_down("redis")
    try:
        down = await alice.send_money(bob, 1, key=key)
        fresh = await alice.send_money(bob, 2, wait=20)
    finally:
        stack.bring_up("redis")

    assert [first.body["id"]] * 3 == [response.body["id"] for response in (flushed, frozen, down)]
    assert "true" == flushed.headers["Idempotent-Replayed"]
    assert took < 1
    assert "COMPLETED" == fresh.body["status"]


async def test_database_down(stack: Stack, alice: Person, bob: Person) -> None:
    """Guarantee 65: with PostgreSQL down every process stays alive, those that need it are not ready, and all recover."""
    roles = [name for name in stack["metrics"] if name not in ("postgres", "rabbitmq", "redis")]
    pids = {name: stack["pids"][name] for name in roles}
    await stack.take_down("postgres")
    try:
        await stack.ready("wallet", expected=503)
        await stack.ready("transaction", expected=503)
        async with aiohttp.ClientSession() as session:
            live = [await stack.probe(session, name, "livez") for name in roles]
        began = time.monotonic()
        refused = await alice.send_money(bob, 1)
        took = time.monotonic() - began
    finally:
        stack.bring_up("postgres")
    await stack.ready("wallet")
    await stack.ready("transaction")

    assert {200} == set(live)
    assert 503 == refused.status
    assert "Retry-After" in refused.headers
    assert took < 2.5
    assert pids == {name: stack["pids"][name] for name in roles}
    assert "COMPLETED" == (await alice.send_money(bob, 1, wait=30)).body["status"]


READ_ONLY = {
    "auth": ["auth"],
    "wallet": ["wallet", "wallet-seal"],
    "transaction": [
        "transaction",
        "transaction-relay",
        "transaction-worker-1",
        "transaction-worker-2",
        "transaction-reversal",
    ],
    "notification": ["notification", "notification-worker"],
}
"""The processes that write to each database."""


@pytest.mark.parametrize("database", READ_ONLY)
async def test_database_read_only(stack: Stack, alice: Person, bob: Person, database: str) -> None:
    """A database refuses writes for a while: not ready, 503; afterwards the same processes complete everything."""
    roles = READ_ONLY[database]
    pids = {name: stack["pids"][name] for name in roles}
    await make_read_only(stack, database, "SET default_transaction_read_only = on")
    try:
        await asyncio.gather(*(stack.ready(name, expected=503) for name in roles))
        meanwhile = [await write(alice, bob, database) for _ in range(3)]
    finally:
        await make_read_only(stack, database, "RESET default_transaction_read_only", cut=False)
    await asyncio.gather(*(stack.ready(name) for name in roles))
    afterwards = [await write(alice, bob, database) for _ in range(20)]
    moved = [response for response in (*meanwhile, *afterwards) if response.status == 202]
    done = [await alice.finalized(response.body["id"]) for response in moved]

    if database in ("auth", "transaction"):
        assert [(503, "database_unavailable")] * 3 == [(response.status, response.code) for response in meanwhile]
        assert all("Retry-After" in response.headers for response in meanwhile)
    assert [] == [response for response in afterwards if response.status >= 500]
    assert {"COMPLETED"} >= {transfer["status"] for transfer in done}
    assert pids == {name: stack["pids"][name] for name in roles}
    assert [] == [row["reason"] for row in await dead_letters(stack)]


async def write(sender: Person, recipient: Person, database: str) -> Response:
    """A request that writes to this database, immediately or later."""
    if database == "auth":
        return await sender.post("/api-keys", {"name": "one more", "scopes": ["read"], "password": PASSWORD})
    return await sender.send_money(recipient, 1)


async def dead_letters(stack: Stack) -> list[asyncpg.Record]:
    return [
        row
        for database in ("transaction", "notification")
        for row in await stack.query(database, "SELECT reason FROM dead_letters WHERE reason LIKE '%database%'")
    ]


async def make_read_only(stack: Stack, database: str, change: str, *, cut: bool = True) -> None:
    """Change the database, and end its sessions so that they reconnect with the change."""
    async with logged_in(stack) as connection:
        await connection.execute(f"ALTER DATABASE {database} {change}")
        if cut:
            await connection.execute(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
            )


async def test_broker_down(stack: Stack, alice: Person, bob: Person) -> None:
    """With RabbitMQ down transfers are accepted and wait at the relay; once it is back they complete."""
    await stack.take_down("rabbitmq")
    try:
        accepted = await alice.send_money(bob, 3)
        async with asyncio.timeout(15):
            while (way := (await alice.get(f"/transfers/{accepted.body['id']}/timeline")).body)[
                "waiting_for"
            ] != "broker":
                await asyncio.sleep(0.2)
    finally:
        stack.bring_up("rabbitmq")

    assert 202 == accepted.status
    assert "safely recorded" in way["summary"]
    done = await alice.finalized(accepted.body["id"])
    assert done["status"] in ("COMPLETED", "FAILED")
    await stack.ready("transaction-worker-1")


async def test_wallet_down(stack: Stack, alice: Person, bob: Person) -> None:
    """With the wallet service down transfers between known wallets are accepted, balances return 503; then all completes."""
    await alice.send_money(bob, 1, wait=20)
    await stack.take_down("wallet")
    try:
        accepted = await alice.send_money(bob, 2)
        balance = await alice.get(f"/wallets/{alice.wallet_id}/balance")
    finally:
        stack.bring_up("wallet")
    await stack.ready("wallet")

    assert 202 == accepted.status
    assert 503 == balance.status
    assert (await alice.finalized(accepted.body["id"]))["status"] in ("COMPLETED", "FAILED")


async def test_a_killed_worker_loses_nothing(stack: Stack, alice: Person, bob: Person) -> None:
    """Workers are killed while money moves: every accepted transfer becomes terminal, and the money adds up."""
    ids: list[str] = []

    async def send() -> None:
        for _ in range(60):
            response = await alice.send_money(bob, 1)
            ids.append(response.body["id"])

    async def kill() -> None:
        for _ in range(4):
            for name in ("transaction-worker-1", "transaction-worker-2"):
                # It may still be down: a process that exits often is restarted after a pause.
                while (pid := stack["pids"].get(name)) is None:
                    await asyncio.sleep(0.05)
                os.kill(pid, signal.SIGKILL)
                await asyncio.sleep(0.4)

    await asyncio.gather(send(), send(), kill())
    done = [await alice.finalized(id_) for id_ in ids]

    completed = sum(transfer["status"] == "COMPLETED" for transfer in done)
    assert 120 == len(done)
    assert completed == await bob.balance()
    await stack.ready("transaction-worker-1")
    await stack.ready("transaction-worker-2")
