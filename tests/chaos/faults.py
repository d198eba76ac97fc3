"""Everything a run can break, as data and as actions: each action breaks one thing, waits, and heals it."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Iterator

import asyncpg
import redis.asyncio as redis_client
from redis.exceptions import RedisError

from tests.chaos import broker
from tests.chaos.proxy import Edge
from tests.chaos.schedule import Kind, Round
from tests.chaos.system import CLIENTS, ENGINES, EVERYTHING, System

HEARTBEATS_LOST_SECONDS = (26.0, 32.0)
"""Long enough for the broker to give up a frozen worker and hand its messages to another."""

CLOCK_JUMPS = (-3600.0, 3600.0, -5.0, 5.0)
LOCK_SECONDS = 3.0
TERMINATIONS_PER_SECOND = 5.0
DELAY_SECONDS = 0.4
SLOW_BYTES_PER_SECOND = 20_000

UNAVAILABLE = (
    OSError,
    TimeoutError,
    RuntimeError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    RedisError,
)
"""What an action may meet when the thing it breaks is broken already: then it has struck."""


def kinds(system: System) -> list[Kind]:
    """All faults of this system."""
    return [*_of_processes(system), *_of_edges(system), *_of_engines(), *_of_clocks(system)]


def _of_processes(system: System) -> Iterator[Kind]:
    for name in [*system.processes, *ENGINES]:
        yield Kind(name, "kill", cards=3)
        yield Kind(name, "terminate")
        yield Kind(name, "freeze", (0.5, 4.0))
        yield Kind(name, "keep-down", (1.0, 5.0))
    yield Kind("transaction-worker-1", "freeze-long", HEARTBEATS_LOST_SECONDS)
    yield Kind(EVERYTHING, "restart", (0.0, 3.0), cards=2)


def _of_edges(system: System) -> Iterator[Kind]:
    for name in system.edges:
        yield Kind(name, "cut", (0.5, 3.0))
        yield Kind(name, "black-hole", (0.5, 7.0))
        yield Kind(name, "reset")
        yield Kind(name, "lose-answers", (0.5, 3.0), cards=2 if _is_http(name) else 1)
        yield Kind(name, "half-open", (0.5, 6.0))
        yield Kind(name, "delay", (1.0, 4.0))


def _of_engines() -> Iterator[Kind]:
    yield Kind("redis", "flush", cards=3)
    yield Kind("redis", "garbage", cards=2)
    yield Kind("redis", "full", (1.0, 4.0))
    yield Kind("rabbitmq", "purge", cards=3)
    yield Kind("rabbitmq", "delete-queue", cards=2)
    yield Kind("rabbitmq", "duplicate", cards=8)
    yield Kind("rabbitmq", "block", (2.0, 6.0), cards=2)
    yield Kind("postgres", "end-sessions", (1.0, 5.0), cards=5)
    yield Kind("postgres", "lock-wallets", (1.0, LOCK_SECONDS), cards=3)


def _of_clocks(system: System) -> Iterator[Kind]:
    for name in system.clocks:
        yield Kind(name, "clock", (2.0, 6.0))


async def strike(system: System, turn: Round) -> None:
    """Break what the round says, for as long as it says, and heal it. Whatever happens, it is healed."""
    action = ACTS.get(turn.fault, _on_edge)
    try:
        await action(system, turn)
    except UNAVAILABLE:
        await asyncio.sleep(turn.seconds)


async def _kill(system: System, turn: Round) -> None:
    system.send(system.pids(turn.component), signal.SIGKILL)


async def _terminate(system: System, turn: Round) -> None:
    """Asked to end, as by whoever deploys. PostgreSQL takes SIGTERM for "when the last client has gone", which is never."""
    number = signal.SIGINT if turn.component == "postgres" else signal.SIGTERM
    system.send(system.pids(turn.component)[:1], number)


async def _freeze(system: System, turn: Round) -> None:
    pids = system.pids(turn.component)
    system.send(pids, signal.SIGSTOP)
    try:
        await asyncio.sleep(turn.seconds)
    finally:
        system.send(pids, signal.SIGCONT)


async def _keep_down(system: System, turn: Round) -> None:
    try:
        await system.stack.take_down(turn.component)
        await asyncio.sleep(turn.seconds)
    finally:
        system.stack.bring_up(turn.component)


async def _restart(system: System, turn: Round) -> None:
    """Everything dies at once, engines included, and comes back one by one in any order."""
    names = [*ENGINES, *system.processes]
    try:
        await asyncio.gather(*(system.stack.take_down(name) for name in names))
        await asyncio.sleep(turn.seconds)
    finally:
        chance = random.Random(turn.number)
        chance.shuffle(names)
        for name in names:
            system.stack.bring_up(name)
            await asyncio.sleep(chance.uniform(0, 0.5))


async def _on_edge(system: System, turn: Round) -> None:
    edge = system.edges[turn.component]
    _EDGE_ACTS[turn.fault](edge)
    try:
        await asyncio.sleep(turn.seconds)
    finally:
        edge.heal()


async def _jump(system: System, turn: Round) -> None:
    clock = system.clocks[turn.component]
    # From the round itself, so that the same seed gives the same jumps.
    clock.jump(random.Random(turn.number).choice(CLOCK_JUMPS))
    try:
        await asyncio.sleep(turn.seconds)
    finally:
        clock.jump(0)


async def _flush(system: System, _turn: Round) -> None:
    async with _redis(system) as cache:
        await cache.flushall()


async def _garbage(system: System, turn: Round) -> None:
    """Every value is overwritten by nonsense of another kind."""
    chance = random.Random(turn.number)
    async with _redis(system) as cache:
        async for key in cache.scan_iter(count=500):
            await cache.set(key, chance.choice(["", "{}", "null", "[1]", '{"status":200}', chance.randbytes(20)]))


async def _full(system: System, turn: Round) -> None:
    """Redis takes no more writes."""
    async with _redis(system) as cache:
        await cache.config_set("maxmemory", "1")
        await asyncio.sleep(turn.seconds)
    async with _redis(system) as cache:
        await cache.config_set("maxmemory", "0")


async def _end_sessions(system: System, turn: Round) -> None:
    """Somebody's session ends, at random, a few times a second."""
    connection = await asyncpg.connect(system.plan.superuser_dsn, timeout=3)
    try:
        for _ in range(round(turn.seconds * TERMINATIONS_PER_SECOND)):
            await connection.execute(_TERMINATE, timeout=3)
            await asyncio.sleep(1 / TERMINATIONS_PER_SECOND)
    finally:
        await connection.close(timeout=1)


async def _lock_wallets(system: System, turn: Round) -> None:
    """Somebody sits on the accounts of the busiest wallets, as a stuck client of the database would."""
    connection = await asyncpg.connect(system.stack["databases"]["wallet"], timeout=3)
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM accounts ORDER BY seq DESC LIMIT 3 FOR UPDATE", timeout=3)
            await asyncio.sleep(turn.seconds)
    finally:
        await connection.close(timeout=1)


def _redis(system: System) -> redis_client.Redis:
    return redis_client.from_url(system.stack["redis"], socket_timeout=2, socket_connect_timeout=2)


def _is_http(edge: str) -> bool:
    return edge.partition(">")[2] not in ENGINES or edge == CLIENTS


AuditEntry = Callable[[System, Round], Awaitable[None]]

ACTS: dict[str, AuditEntry] = {
    "kill": _kill,
    "terminate": _terminate,
    "freeze": _freeze,
    "freeze-long": _freeze,
    "keep-down": _keep_down,
    "restart": _restart,
    "clock": _jump,
    "flush": _flush,
    "garbage": _garbage,
    "full": _full,
    "end-sessions": _end_sessions,
    "lock-wallets": _lock_wallets,
    "purge": broker.purge,
    "delete-queue": broker.delete_queue,
    "duplicate": broker.duplicate,
    "block": broker.block,
}

_EDGE_ACTS: dict[str, Callable[[Edge], None]] = {
    "cut": Edge.cut,
    "black-hole": Edge.black_hole,
    "reset": Edge.reset,
    "lose-answers": Edge.lose_responses,
    "half-open": Edge.half_open,
    "delay": lambda edge: edge.delay(DELAY_SECONDS),
}

_TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE usename LIKE 'payflow\\_%' AND pid <> pg_backend_pid()
ORDER BY random() LIMIT 1
"""
