"""What the outside sees while something is down, and that it heals by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from uuid import uuid4

import aiohttp
import redis.asyncio as redis

from tests.harness.api import Person
from tests.harness.stack import Stack


async def test_redis_flushed_or_away(stack: Stack, alice: Person, bob: Person) -> None:
    """Guarantee 20: with Redis empty, frozen or down, a key still means one transfer, and nothing waits long."""
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
    await stack.hold("redis")
    try:
        down = await alice.send_money(bob, 1, key=key)
        fresh = await alice.send_money(bob, 2, wait=20)
    finally:
        stack.release("redis")

    assert [first.body["id"]] * 3 == [answer.body["id"] for answer in (flushed, frozen, down)]
    assert "true" == flushed.headers["Idempotent-Replayed"]
    assert took < 1
    assert "COMPLETED" == fresh.body["status"]


async def test_database_down(stack: Stack, alice: Person, bob: Person) -> None:
    """Guarantee 65: with PostgreSQL down everybody lives, those who need it are not ready, and it heals by itself."""
    roles = [name for name in stack["metrics"] if name not in ("postgres", "rabbitmq", "redis")]
    pids = {name: stack["pids"][name] for name in roles}
    await stack.hold("postgres")
    try:
        await stack.ready("wallet", expected=503)
        await stack.ready("transaction", expected=503)
        async with aiohttp.ClientSession() as session:
            live = [await stack.probe(session, name, "livez") for name in roles]
        began = time.monotonic()
        refused = await alice.send_money(bob, 1)
        took = time.monotonic() - began
    finally:
        stack.release("postgres")
    await stack.ready("wallet")
    await stack.ready("transaction")

    assert {200} == set(live)
    assert 503 == refused.status
    assert "Retry-After" in refused.headers
    assert took < 2.5
    assert pids == {name: stack["pids"][name] for name in roles}
    assert "COMPLETED" == (await alice.send_money(bob, 1, wait=30)).body["status"]


async def test_broker_down(stack: Stack, alice: Person, bob: Person) -> None:
    """With RabbitMQ down transfers are accepted and wait at the relay for the broker; when it is back they are done."""
    await stack.hold("rabbitmq")
    try:
        accepted = await alice.send_money(bob, 3)
        async with asyncio.timeout(15):
            while (way := (await alice.get(f"/transfers/{accepted.body['id']}/timeline")).body)[
                "waiting_for"
            ] != "broker":
                await asyncio.sleep(0.2)
    finally:
        stack.release("rabbitmq")

    assert 202 == accepted.status
    assert "safely on record" in way["summary"]
    done = await alice.settled(accepted.body["id"])
    assert done["status"] in ("COMPLETED", "FAILED")
    await stack.ready("transaction-worker-1")


async def test_wallet_down(stack: Stack, alice: Person, bob: Person) -> None:
    """With the wallet service down transfers between known wallets are accepted; balances answer 503; then all is done."""
    await alice.send_money(bob, 1, wait=20)
    await stack.hold("wallet")
    try:
        accepted = await alice.send_money(bob, 2)
        balance = await alice.get(f"/wallets/{alice.wallet_id}/balance")
    finally:
        stack.release("wallet")
    await stack.ready("wallet")

    assert 202 == accepted.status
    assert 503 == balance.status
    assert (await alice.settled(accepted.body["id"]))["status"] in ("COMPLETED", "FAILED")


async def test_a_killed_worker_loses_nothing(stack: Stack, alice: Person, bob: Person) -> None:
    """Workers killed while money moves: every accepted transfer becomes terminal, and the money adds up."""
    ids: list[str] = []

    async def send() -> None:
        for _ in range(60):
            answer = await alice.send_money(bob, 1)
            ids.append(answer.body["id"])

    async def kill() -> None:
        for _ in range(4):
            for name in ("transaction-worker-1", "transaction-worker-2"):
                # It may be down still: who dies often is started again after a pause.
                while (pid := stack["pids"].get(name)) is None:
                    await asyncio.sleep(0.05)
                os.kill(pid, signal.SIGKILL)
                await asyncio.sleep(0.4)

    await asyncio.gather(send(), send(), kill())
    done = [await alice.settled(id_) for id_ in ids]

    completed = sum(transfer["status"] == "COMPLETED" for transfer in done)
    assert 120 == len(done)
    assert completed == await bob.balance()
    await stack.ready("transaction-worker-1")
    await stack.ready("transaction-worker-2")
