"""Redis stopped, frozen, full or returning wrong data, under load: no effect on users, and a key still means one transfer."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import redis.asyncio as redis

from tests.chaos import timing
from tests.chaos.timing import TimedPerson
from tests.harness.api import PASSWORD, ApiClient, Person
from tests.harness.books import faults_when_quiet
from tests.harness.drills import FULL, bound
from tests.harness.load import Sent, load
from tests.harness.stack import Stack

CALM_SECONDS = bound(2.0, 60.0)
REPLAYS = bound(20, 200)
PER_SECOND = bound(40, 60)

ERRORS_MORE_MAX = 0.001
SLOWER_MAX = 3
WAIT_SECONDS_MAX = bound(5.0, 1.0)
"""The longest a call may wait for Redis. The short form allows for a busy machine."""

INVALID_VALUES = [
    b"",
    b"{}",
    b"null",
    b"[1]",
    b'{"status":200}',
    b"\xff\xfe\x00",
    b"0" * 64 + b'{"status":"COMPLETED"}',
]

VALID_VALUES_MAX = 100
VALID_LENGTH_MIN = 200

Fault = Callable[[Stack], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def stopped(stack: Stack) -> AsyncIterator[None]:
    """Redis is down."""
    await stack.take_down("redis")
    try:
        yield
    finally:
        stack.bring_up("redis")


@asynccontextmanager
async def frozen(stack: Stack) -> AsyncIterator[None]:
    """Redis accepts connections but does not respond."""
    pid = stack["pids"]["redis"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def full(stack: Stack) -> AsyncIterator[None]:
    """Redis refuses every write."""
    cache = redis.from_url(stack["redis"])
    await cache.config_set("maxmemory", "1")
    try:
        yield
    finally:
        await cache.config_set("maxmemory", "0")
        await cache.aclose()


@asynccontextmanager
async def wrong(stack: Stack) -> AsyncIterator[None]:
    """Redis returns wrong data: every value is replaced by another one, or by one of another type."""
    cache = redis.from_url(stack["redis"])
    stop = asyncio.Event()
    corrupting = asyncio.create_task(_corrupt(cache, stop))
    try:
        yield
    finally:
        stop.set()
        assert await corrupting > 0
        await cache.aclose()


async def _corrupt(cache: redis.Redis, stop: asyncio.Event) -> int:
    """Replace all values repeatedly, half of them by valid values of other keys; return the number of passes."""
    chance = random.Random(21)
    valid_values: list[bytes | str] = []
    rounds = 0
    while not stop.is_set():
        keys = [key async for key in cache.scan_iter(count=1000)]
        for key in keys:
            if await cache.type(key) == b"string":
                valid_values += [value for value in [await cache.get(key)] if value and len(value) > VALID_LENGTH_MIN]
            if valid_values and chance.random() < 1 / 2:
                await cache.set(key, chance.choice(valid_values))
            elif chance.random() < 1 / 2:
                await cache.set(key, chance.choice(INVALID_VALUES))
            else:
                await cache.delete(key)
                await cache.rpush(key, "not", "a", "string")
        del valid_values[:-VALID_VALUES_MAX]
        rounds += bool(keys)
        await asyncio.sleep(0.05)
    return rounds


async def forget_earlier_tests(stack: Stack) -> None:
    """Empty Redis: a fault concerns the keys of this test, not thousands of others."""
    async with redis.from_url(stack["redis"]) as cache:
        await cache.flushall()


async def replay(sent: Sent, count: int) -> None:
    """Send accepted keys again, each with its own request; each must return the same transfer."""
    finalized = [payment for payment in list(sent.payments.values()) if payment.finalized and payment.ids]
    for payment in random.Random(count).choices(finalized, k=count):
        again = await payment.sender.send_money(payment.receiver, payment.amount, key=payment.key)
        payment.responses.append(again)
        assert 202 == again.status, again
        assert "true" == again.headers["Idempotent-Replayed"]


async def log_in_and_out(api: ApiClient, person: Person) -> None:
    """Log in and out; the token must be invalid a second later."""
    session = await api.login(person.email, PASSWORD)
    assert 204 == (await session.post("/auth/logout", {"refresh_token": session.refresh_token})).status
    async with asyncio.timeout(5):
        while (await session.get("/wallets")).status != 401:
            await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
async def users(api: ApiClient, operator: Person) -> list[TimedPerson]:
    return await timing.register_timed(api, operator, 6)


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [(stopped, bound(6, 60)), (frozen, bound(6, 60)), (full, bound(2, 60)), (wrong, bound(2, 60))],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.timeout(bound(300, 400))
async def test_faults_of_redis_do_not_affect_users(
    stack: Stack, api: ApiClient, users: list[TimedPerson], fault: Fault, seconds: float
) -> None:
    """Guarantee 21: with Redis stopped, frozen, full or wrong no more requests fail, none is doubled, none waits for it."""
    await forget_earlier_tests(stack)
    async with load(api, users, per_second=PER_SECOND) as sent:
        began = time.monotonic()
        await asyncio.sleep(CALM_SECONDS)
        broke = time.monotonic()
        async with fault(stack):
            async with asyncio.timeout(seconds + 60):
                await replay(sent, REPLAYS)
                await log_in_and_out(api, users[0])
            await asyncio.sleep(max(0, broke + seconds - time.monotonic()))
            healed = time.monotonic()
    calm, broken = timing.phase(users, began, broke), timing.phase(users, broke, healed)
    wrong = await faults_when_quiet(stack, sent.ids, seconds=90)

    timing.report(f"21 {fault.__name__}", per_second=PER_SECOND, calm=calm.figures(), broken=broken.figures())
    assert len(broken.calls) > REPLAYS
    assert len(broken.faults) / len(broken.calls) <= len(calm.faults) / len(calm.calls) + ERRORS_MORE_MAX, broken.faults
    assert [] == sent.faults() + wrong
    assert broken.slowest < WAIT_SECONDS_MAX
    if FULL:
        assert broken.percentile(99) < SLOWER_MAX * calm.percentile(99)
