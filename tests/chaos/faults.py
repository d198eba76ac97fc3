"""All faults, as data and as actions: each action breaks one thing, waits, and heals it."""

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
from tests.chaos.system import CLIENTS, ENGINES, EVERYTHING, ProxiedSystem

HEARTBEATS_LOST_SECONDS = (26.0, 32.0)
"""Long enough for the broker to drop a frozen worker and redeliver its messages."""

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
"""Errors of an action whose target is already broken: the fault counts as injected."""


def kinds(system: ProxiedSystem) -> list[Kind]:
    """All faults of this system."""
    return [*_of_processes(system), *_of_edges(system), *_of_engines(), *_of_clocks(system)]


def _of_processes(system: ProxiedSystem) -> Iterator[Kind]:
    for name in [*system.processes, *ENGINES]:
        yield Kind(name, "kill", weight=3)
        yield Kind(name, "terminate")
        yield Kind(name, "freeze", (0.5, 4.0))
        yield Kind(name, "keep-down", (1.0, 5.0))
    yield Kind("transaction-worker-1", "freeze-long", HEARTBEATS_LOST_SECONDS)
    yield Kind(EVERYTHING, "restart", (0.0, 3.0), weight=2)


def _of_edges(system: ProxiedSystem) -> Iterator[Kind]:
    for name in system.edges:
        yield Kind(name, "cut", (0.5, 3.0))
        yield Kind(name, "black-hole", (0.5, 7.0))
        yield Kind(name, "reset")
        yield Kind(name, "drop-responses", (0.5, 3.0), weight=2 if _is_http(name) else 1)
        yield Kind(name, "half-open", (0.5, 6.0))
        yield Kind(name, "delay", (1.0, 4.0))


def _of_engines() -> Iterator[Kind]:
    yield Kind("redis", "flush", weight=3)
    yield Kind("redis", "garbage", weight=2)
    yield Kind("redis", "full", (1.0, 4.0))
    yield Kind("rabbitmq", "purge", weight=3)
    yield Kind("rabbitmq", "delete-queue", weight=2)
    yield Kind("rabbitmq", "duplicate", weight=8)
    yield Kind("rabbitmq", "block", (2.0, 6.0), weight=2)
    yield Kind("postgres", "end-sessions", (1.0, 5.0), weight=5)
    yield Kind("postgres", "lock-wallets", (1.0, LOCK_SECONDS), weight=3)


def _of_clocks(system: ProxiedSystem) -> Iterator[Kind]:
    for name in system.clocks:
        yield Kind(name, "clock", (2.0, 6.0))


async def inject(system: ProxiedSystem, round_: Round) -> None:
    """Inject the fault of a round for its duration, then heal it, also after an error."""
    action = ACTIONS.get(round_.fault, _on_edge)
    try:
        await action(system, round_)
    except UNAVAILABLE:
        await asyncio.sleep(round_.seconds)


async def _kill(system: ProxiedSystem, round_: Round) -> None:
    system.send(system.pids(round_.component), signal.SIGKILL)


async def _terminate(system: ProxiedSystem, round_: Round) -> None:
    """Send the shutdown signal. PostgreSQL takes SIGTERM for "when the last client has gone", which never happens."""
    number = signal.SIGINT if round_.component == "postgres" else signal.SIGTERM
    system.send(system.pids(round_.component)[:1], number)


async def _freeze(system: ProxiedSystem, round_: Round) -> None:
    pids = system.pids(round_.component)
    system.send(pids, signal.SIGSTOP)
    try:
        await asyncio.sleep(round_.seconds)
    finally:
        system.send(pids, signal.SIGCONT)


async def _keep_down(system: ProxiedSystem, round_: Round) -> None:
    try:
        await system.stack.take_down(round_.component)
        await asyncio.sleep(round_.seconds)
    finally:
        system.stack.bring_up(round_.component)


async def _restart(system: ProxiedSystem, round_: Round) -> None:
    """Kill everything at once, engines included, and start it again in random order."""
    names = [*ENGINES, *system.processes]
    try:
        await asyncio.gather(*(system.stack.take_down(name) for name in names))
        await asyncio.sleep(round_.seconds)
    finally:
        chance = random.Random(round_.number)
        chance.shuffle(names)
        for name in names:
            system.stack.bring_up(name)
            await asyncio.sleep(chance.uniform(0, 0.5))


async def _on_edge(system: ProxiedSystem, round_: Round) -> None:
    edge = system.edges[round_.component]
    _EDGE_ACTIONS[round_.fault](edge)
    try:
        await asyncio.sleep(round_.seconds)
    finally:
        edge.heal()


async def _jump(system: ProxiedSystem, round_: Round) -> None:
    clock = system.clocks[round_.component]
    # Derived from the round, so that the same seed gives the same jumps.
    clock.jump(random.Random(round_.number).choice(CLOCK_JUMPS))
    try:
        await asyncio.sleep(round_.seconds)
    finally:
        clock.jump(0)


async def _flush(system: ProxiedSystem, _round: Round) -> None:
    async with _redis(system) as cache:
        await cache.flushall()


async def _garbage(system: ProxiedSystem, round_: Round) -> None:
    """Overwrite every value with invalid data of another type."""
    chance = random.Random(round_.number)
    async with _redis(system) as cache:
        async for key in cache.scan_iter(count=500):
            nonsense: list[str | bytes] = ["", "{}", "null", "[1]", '{"status":200}', chance.randbytes(20)]
            await cache.set(key, chance.choice(nonsense))


async def _full(system: ProxiedSystem, round_: Round) -> None:
    """Make Redis refuse writes."""
    async with _redis(system) as cache:
        await cache.config_set("maxmemory", "1")
        await asyncio.sleep(round_.seconds)
    async with _redis(system) as cache:
        await cache.config_set("maxmemory", "0")


async def _end_sessions(system: ProxiedSystem, round_: Round) -> None:
    """End random database sessions, a few times a second."""
    connection = await asyncpg.connect(system.plan.superuser_dsn, timeout=3)
    try:
        for _ in range(round(round_.seconds * TERMINATIONS_PER_SECOND)):
            await connection.execute(_TERMINATE, timeout=3)
            await asyncio.sleep(1 / TERMINATIONS_PER_SECOND)
    finally:
        await connection.close(timeout=1)


async def _lock_wallets(system: ProxiedSystem, round_: Round) -> None:
    """Lock the accounts of the busiest wallets, as a stuck database client would."""
    connection = await asyncpg.connect(system.stack["databases"]["wallet"], timeout=3)
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM accounts ORDER BY seq DESC LIMIT 3 FOR UPDATE", timeout=3)
            await asyncio.sleep(round_.seconds)
    finally:
        await connection.close(timeout=1)


def _redis(system: ProxiedSystem) -> redis_client.Redis:
    return redis_client.from_url(system.stack["redis"], socket_timeout=2, socket_connect_timeout=2)


def _is_http(edge: str) -> bool:
    return edge.partition(">")[2] not in ENGINES or edge == CLIENTS


Action = Callable[[ProxiedSystem, Round], Awaitable[None]]

ACTIONS: dict[str, Action] = {
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

_EDGE_ACTIONS: dict[str, Callable[[Edge], None]] = {
    "cut": Edge.cut,
    "black-hole": Edge.black_hole,
    "reset": Edge.reset,
    "drop-responses": Edge.drop_responses,
    "half-open": Edge.half_open,
    "delay": lambda edge: edge.delay(DELAY_SECONDS),
}

_TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE usename LIKE 'payflow\\_%' AND pid <> pg_backend_pid()
ORDER BY random() LIMIT 1
"""
