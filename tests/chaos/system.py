"""A private stack for fault injection: every connection between two processes passes through a fault proxy."""

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
from deploy.local.progress import Report
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
"""Which role calls which; each pair is an edge with its own proxy."""

SETTINGS = {"PAYFLOW_RATE_LIMITS": "off", "PAYFLOW_CANARY": "off", "PAYFLOW_REVERSAL_AFTER_SECONDS": "12"}
"""An early reversal meets many transfers that are merely late: the race this system must win."""


class ProxiedWiring(Wiring):
    """The ordinary wiring with the proxies' addresses in place of the upstream addresses."""

    edges: Mapping[str, Edge]
    clocks: Mapping[str, Clock]

    def environment(self, role: Role) -> dict[str, str]:
        """The environment of a role, pointing to the proxies."""
        variables = super().environment(role)
        for callee in CALLS.get(role.name, ()):
            edge = self.edges[f"{role.name}>{callee}"]
            variables |= {name: _through(edge, variables[name]) for name in _variables(callee, variables)}
        clock = self.clocks.get(role.name)
        return variables | clock.environment() if clock is not None else variables

    def address(self, role: Role, callee: str) -> tuple[str, int]:
        """The real address of the callee."""
        variables = super().environment(role)
        parts = urlsplit(variables[_variables(callee, variables)[0]])
        assert parts.hostname is not None, "every URL has a host"
        assert parts.port is not None, "every URL has a port"
        return parts.hostname, parts.port


def _variables(callee: str, variables: Mapping[str, str]) -> list[str]:
    """The variables that hold the address of `callee`."""
    if callee == "postgres":
        return [name for name in variables if name.endswith("_DATABASE_URL")]
    return [f"PAYFLOW_{callee.upper()}_URL"]


def _through(edge: Edge, url: str) -> str:
    parts = urlsplit(url)
    login, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{login}{at}{LOOPBACK}:{edge.port}").geturl()


class ProxiedPayFlow(PayFlow):
    """The whole system behind proxies; the proxies start with the first process."""

    funds_canary = False

    wiring: ProxiedWiring

    @property
    def superuser_dsn(self) -> str:
        """A DSN that may end other users' sessions."""
        return self._private.postgres.dsn("postgres")

    @property
    def rabbitmq(self) -> RabbitMQ:
        """The broker."""
        assert isinstance(self._private.rabbitmq, RabbitMQ), "a stack without clusters"
        return self._private.rabbitmq

    async def prepare_databases(self) -> None:
        """Create the databases and start the proxies."""
        await super().prepare_databases()
        await asyncio.gather(*(edge.start() for edge in self.wiring.edges.values()))


class System:
    """A running private stack, and when it is ready."""

    heal_seconds_max = HEAL_SECONDS_MAX

    plan: PayFlow

    def __init__(self, home: Path, plan: PayFlow, clients: Edge) -> None:
        """`clients` is the proxy between the clients of the run and the gateway."""
        self.stack = Stack(home)
        self.plan = plan
        self.gateway = f"http://{LOOPBACK}:{clients.port}"
        self.session = aiohttp.ClientSession()

    @property
    def processes(self) -> list[str]:
        """The names of all service processes."""
        return [role.name for role in ROLES]

    @property
    def engines(self) -> list[str]:
        """The names of all engines."""
        return [engine.name for engine in self.plan.engines]

    def pids(self, name: str) -> list[int]:
        """A process and its descendants; empty while it is down."""
        pid = self.stack["pids"].get(name)
        return [pid, *(child.pid for child in process.descendants(pid))] if pid is not None else []

    def send(self, pids: Iterable[int], number: signal.Signals) -> None:
        """Send a signal; ignore processes that have exited."""
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    async def healed(self, name: str) -> float | None:
        """Seconds until a process, an engine or the caller of an edge is ready again; None: not in time."""
        began = time.monotonic()
        while time.monotonic() - began < self.heal_seconds_max:
            if await self._is_ready(name):
                return time.monotonic() - began
            await asyncio.sleep(0.1)
        return None

    async def not_ready(self) -> list[str]:
        """What does not become ready in time, once all faults have ended."""
        names = [*self.engines, *self.processes]
        seconds = await asyncio.gather(*(self.healed(name) for name in names))
        return [name for name, healed in zip(names, seconds, strict=True) if healed is None]

    async def query(self, database: str, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Run a query as the owner of the database."""
        return await self.stack.query(database, statement, *arguments)

    async def _is_ready(self, name: str) -> bool:
        caller = name.partition(">")[0]
        if caller == EVERYTHING:
            return all(await asyncio.gather(*(self._is_ready(one) for one in [*self.engines, *self.processes])))
        if caller == "clients":
            caller = "gateway"
        if caller in self.engines:
            engine = next(engine for engine in self.plan.engines if engine.name == caller)
            return engine.pid is not None and await engine.is_ready()
        try:
            return await self.stack.probe(self.session, caller, "readyz") == 200
        except (OSError, ValueError, KeyError):
            return False


class ProxiedSystem(System):
    """A running private stack and everything that can break it."""

    plan: ProxiedPayFlow

    def __init__(self, home: Path, edges: dict[str, Edge], clocks: dict[str, Clock], plan: ProxiedPayFlow) -> None:
        super().__init__(home, plan, edges[CLIENTS])
        self.edges = edges
        self.clocks = clocks

    async def rabbitmqctl(self, *arguments: str) -> bool:
        """Run the broker's control tool; return whether it succeeded."""
        server = find_server()
        assert server is not None, "the broker is installed"
        child = await asyncio.create_subprocess_exec(
            str(server.with_name("rabbitmqctl")),
            *("--timeout", str(CONTROL_SECONDS), *arguments),
            env=self.plan.rabbitmq._environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        return await child.wait() == 0


@asynccontextmanager
async def start(home: Path, *, report: Report, settings: Mapping[str, str] = SETTINGS) -> AsyncIterator[ProxiedSystem]:
    """Start a private stack with its proxies and these settings below `home`; stop everything afterwards."""
    caller = {name: value for name, value in os.environ.items() if not name.startswith("PAYFLOW_")}
    plan = ProxiedPayFlow(
        Home(home), caller | dict(settings) | {"PAYFLOW_GATEWAY_PORT": str(find_free())}, wiring=ProxiedWiring
    )
    plan.wiring.clocks = _clocks(home, plan)
    plan.wiring.edges = {edge.name: edge for edge in _edges(plan)}
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_close, plan.wiring.edges.values())
        await stack.enter_async_context(running(Home(home), plan, report=report))
        system = ProxiedSystem(home, dict(plan.wiring.edges), dict(plan.wiring.clocks), plan)
        stack.push_async_callback(system.session.close)
        yield system


def _edges(plan: ProxiedPayFlow) -> Iterable[Edge]:
    for role in ROLES:
        for callee in CALLS[role.name]:
            yield _edge(plan, role, callee)
    yield Edge(CLIENTS, lambda: (LOOPBACK, plan.gateway_port))


def _edge(plan: ProxiedPayFlow, role: Role, callee: str) -> Edge:
    return Edge(f"{role.name}>{callee}", lambda: plan.wiring.address(role, callee))


def _clocks(home: Path, plan: ProxiedPayFlow) -> dict[str, Clock]:
    """A clock for every process, if libfaketime is installed."""
    if find_library() is None:
        return {}
    folder = home / "clocks"
    files.make_folder(folder)
    return {role.name: Clock(folder / role.name) for role in ROLES}


async def _close(edges: Iterable[Edge]) -> None:
    await asyncio.gather(*(edge.close() for edge in edges))
