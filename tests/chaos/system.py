"""A private stack that can be broken on purpose: every link between two of its processes leads through a fault proxy."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import asyncpg

from deploy.local import files, process
from deploy.local.commands import running
from deploy.local.engines import RabbitMQ
from deploy.local.engines.rabbitmq import find_server
from deploy.local.home import Home
from deploy.local.payflow import PayFlow
from deploy.local.ports import LOOPBACK, find_free
from deploy.local.progress import Tell
from deploy.local.roles import ROLES, Role, Wiring
from tests.chaos.clock import Clock, find_library
from tests.chaos.proxy import Edge
from tests.harness.stack import Stack

ENGINES = ("postgres", "rabbitmq", "redis")
CLIENTS = "clients>gateway"
EVERYTHING = "everything"
HEAL_SECONDS_MAX = 60.0
CONTROL_SECONDS = 10

CALLS: Mapping[str, tuple[str, ...]] = {
    "gateway": ("auth", "wallet", "transaction", "notification", "redis"),
    "auth": ("postgres", "redis"),
    "wallet": ("postgres",),
    "wallet-seal": ("postgres",),
    "transaction": ("postgres", "wallet", "auth"),
    "transaction-relay": ("postgres", "rabbitmq"),
    "transaction-worker-1": ("postgres", "rabbitmq", "wallet"),
    "transaction-worker-2": ("postgres", "rabbitmq", "wallet"),
    "transaction-reversal": ("postgres", "wallet"),
    "notification": ("postgres",),
    "notification-worker": ("postgres", "rabbitmq", "transaction"),
    "notification-deliver": ("postgres", "auth"),
}
"""Who calls whom: each pair is an edge with a proxy of its own."""

SETTINGS = {"PAYFLOW_RATE_LIMITS": "off", "PAYFLOW_REVERSAL_AFTER_SECONDS": "12"}
"""A reversal that comes early meets many transfers that are only late: the race this system must win."""


class DetouredWiring(Wiring):
    """The ordinary wiring, with the addresses of the proxies in place of those behind them."""

    edges: Mapping[str, Edge]
    clocks: Mapping[str, Clock]

    def environment(self, role: Role) -> dict[str, str]:
        """Everything a role is told, as it is told to it here."""
        told = super().environment(role)
        for callee in CALLS[role.name]:
            edge = self.edges[f"{role.name}>{callee}"]
            told |= {name: _through(edge, told[name]) for name in _variables(callee, told)}
        clock = self.clocks.get(role.name)
        return told | clock.environment() if clock is not None else told

    def address(self, role: Role, callee: str) -> tuple[str, int]:
        """Where the callee listens really."""
        told = super().environment(role)
        parts = urlsplit(told[_variables(callee, told)[0]])
        assert parts.hostname is not None, "every address names a host"
        assert parts.port is not None, "and a port"
        return parts.hostname, parts.port


def _variables(callee: str, told: Mapping[str, str]) -> list[str]:
    """The variables that say where `callee` is."""
    if callee == "postgres":
        return [name for name in told if name.endswith("_DATABASE_URL")]
    return [f"PAYFLOW_{callee.upper()}_URL"]


def _through(edge: Edge, url: str) -> str:
    parts = urlsplit(url)
    login, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{login}{at}{LOOPBACK}:{edge.port}").geturl()


class FragilePayFlow(PayFlow):
    """The whole system, its processes told of the proxies; the proxies are started with the first process."""

    wiring: DetouredWiring

    @property
    def superuser_dsn(self) -> str:
        """The database server, for whoever may end other people's sessions."""
        return self._private.postgres.dsn("postgres")

    @property
    def rabbitmq(self) -> RabbitMQ:
        """The broker."""
        return self._private.rabbitmq

    async def lay_ground(self) -> None:
        """Databases as ever, and the proxies."""
        await super().lay_ground()
        await asyncio.gather(*(edge.start() for edge in self.wiring.edges.values()))


class System:
    """A running private stack and everything it can be broken with."""

    def __init__(self, home: Path, edges: dict[str, Edge], clocks: dict[str, Clock], plan: FragilePayFlow) -> None:
        self.stack = Stack(home)
        self.edges = edges
        self.clocks = clocks
        self.plan = plan
        self.session = aiohttp.ClientSession()

    @property
    def gateway(self) -> str:
        """The public api as the clients of the run see it: behind a proxy too."""
        return f"http://{LOOPBACK}:{self.edges[CLIENTS].port}"

    @property
    def processes(self) -> list[str]:
        """The names of all services' processes."""
        return [role.name for role in ROLES]

    def pids(self, name: str) -> list[int]:
        """A process with all it started; empty while it is down."""
        pid = self.stack["pids"].get(name)
        return [pid, *(child.pid for child in process.descendants(pid))] if pid is not None else []

    def send(self, pids: Iterable[int], number: signal.Signals) -> None:
        """Send a signal; who is gone already is no fault."""
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    async def rabbitmqctl(self, *arguments: str) -> bool:
        """Whether the broker's own tool could do that."""
        server = find_server()
        assert server is not None, "the broker runs"
        child = await asyncio.create_subprocess_exec(
            str(server.with_name("rabbitmqctl")),
            *("--timeout", str(CONTROL_SECONDS), *arguments),
            env=self.plan.rabbitmq._environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        return await child.wait() == 0

    async def healed(self, name: str) -> float | None:
        """Seconds until a process, an engine or the caller of an edge can do its part again; None: not in time."""
        began = time.monotonic()
        while time.monotonic() - began < HEAL_SECONDS_MAX:
            if await self._is_well(name):
                return time.monotonic() - began
            await asyncio.sleep(0.1)
        return None

    async def ill(self) -> list[str]:
        """Whatever cannot do its part again in time, now that nothing is broken any more."""
        names = [*ENGINES, *self.processes]
        seconds = await asyncio.gather(*(self.healed(name) for name in names))
        return [name for name, healed in zip(names, seconds, strict=True) if healed is None]

    async def query(self, database: str, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Rows as the database's owner sees them."""
        return await self.stack.query(database, statement, *arguments)

    async def _is_well(self, name: str) -> bool:
        caller = name.partition(">")[0]
        if caller == EVERYTHING:
            return all(await asyncio.gather(*(self._is_well(one) for one in [*ENGINES, *self.processes])))
        if caller == "clients":
            caller = "gateway"
        if caller in ENGINES:
            engine = next(engine for engine in self.plan.engines if engine.name == caller)
            return engine.pid is not None and await engine.is_ready()
        try:
            return await self.stack.probe(self.session, caller, "readyz") == 200
        except (OSError, ValueError, KeyError):
            return False


@asynccontextmanager
async def start(home: Path, *, tell: Tell) -> AsyncIterator[System]:
    """Start a private stack with its proxies below `home`; everything is stopped afterwards."""
    caller = {name: value for name, value in os.environ.items() if not name.startswith("PAYFLOW_")}
    plan = FragilePayFlow(
        Home(home), caller | SETTINGS | {"PAYFLOW_GATEWAY_PORT": str(find_free())}, wiring=DetouredWiring
    )
    plan.wiring.clocks = _clocks(home, plan)
    plan.wiring.edges = {edge.name: edge for edge in _edges(plan)}
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_close, plan.wiring.edges.values())
        await stack.enter_async_context(running(Home(home), plan, tell=tell))
        system = System(home, dict(plan.wiring.edges), dict(plan.wiring.clocks), plan)
        stack.push_async_callback(system.session.close)
        yield system


def _edges(plan: FragilePayFlow) -> Iterable[Edge]:
    for role in ROLES:
        for callee in CALLS[role.name]:
            yield Edge(f"{role.name}>{callee}", lambda role=role, callee=callee: plan.wiring.address(role, callee))
    yield Edge(CLIENTS, lambda: (LOOPBACK, plan.gateway_port))


def _clocks(home: Path, plan: FragilePayFlow) -> dict[str, Clock]:
    """A clock of its own for every process, where the library for it is installed."""
    if find_library() is None:
        return {}
    folder = home / "clocks"
    files.make_folder(folder)
    return {role.name: Clock(folder / role.name) for role in ROLES}


async def _close(edges: Iterable[Edge]) -> None:
    await asyncio.gather(*(edge.close() for edge in edges))
