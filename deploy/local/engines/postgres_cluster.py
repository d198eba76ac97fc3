"""Three PostgreSQL nodes under Patroni, three of etcd, and HAProxy: the parts, and how they reach one another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import asyncpg

from deploy.local.engines import patroni, postgres
from deploy.local.engines.engine import Engine
from deploy.local.engines.etcd import Etcd
from deploy.local.engines.haproxy import HAProxy
from deploy.local.engines.patroni import PatroniNode
from deploy.local.engines.postgres import SUPERUSER
from deploy.local.errors import LocalError
from deploy.local.ports import Ports
from deploy.secrets.store import Secrets

READY_SECONDS_MAX = 120.0
LOGIN_SECONDS_MAX = 2.0
POLL_SECONDS = 0.2
REPLICAS = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum' AND state = 'streaming'"


class PostgresCluster:
    """The databases of a stack on three nodes. It has the interface of one server where a stack needs it."""

    def __init__(self, directory: Path, *, ports: Ports, secrets: Secrets, log: Callable[[str], Path]) -> None:
        """Keep everything below `directory`; `log` gives the log file of a part by its name."""
        self._secrets = secrets
        self.etcd = [
            Etcd(directory / f"etcd-{number}", number, ports=ports, log=log(f"etcd-{number}"))
            for number in patroni.NODES
        ]
        self.nodes = [
            PatroniNode(
                directory / f"postgres-{number}", number, ports=ports, secrets=secrets, log=log(f"postgres-{number}")
            )
            for number in patroni.NODES
        ]
        self.haproxy = HAProxy(directory / "haproxy", ports=ports, log=log("haproxy"))
        self._ports = ports

    @property
    def folder(self) -> Path:
        """The folder of the first node."""
        return self.nodes[0].directory

    @property
    def parts(self) -> list[Engine]:
        """All parts, each of which can be killed and started by itself."""
        return [*self.etcd, *self.nodes, self.haproxy]

    def choose_ports(self) -> None:
        """Choose the ports of all parts at once, and give each part the addresses of the others.

        Raises:
            LocalError: another program uses a port that the nodes of etcd have recorded.
        """
        for part in self.parts:
            part.end_orphans()
        for member in self.etcd:
            member.keep_ports()
        for part in [*self.nodes, self.haproxy]:
            for name in part.port_names:
                self._ports.take(name)
        for node in self.nodes:
            node.etcd = [member.address for member in self.etcd]
        self.haproxy.servers = [(node.name, node.address, node.api) for node in self.nodes]

    def dsn(self, database: str, role: str = SUPERUSER) -> str:
        """The URL of `database` on the current leader, with the login of `role`."""
        return postgres.dsn(self.haproxy.primary, database, login=(role, self._secrets.password(f"postgres:{role}")))

    def replica_dsn(self, database: str, role: str) -> str | None:
        """The URL of `database` on one of the replicas, with the login of `role`."""
        return postgres.dsn(self.haproxy.replica, database, login=(role, self._secrets.password(f"postgres:{role}")))

    async def provision(self) -> None:
        """Create the databases and roles on the leader, or update existing ones; safe to repeat."""
        await self._until_replicated()
        node = self.nodes[0]
        await postgres.provision(
            self.haproxy.primary, programs=node.find_programs(), secrets=self._secrets, folder=self.haproxy.directory
        )

    async def _until_replicated(self) -> None:
        """Wait until commits wait for a replica: after its start the cluster has none for some seconds.

        Raises:
            LocalError: it took longer than `READY_SECONDS_MAX`.
        """
        try:
            async with asyncio.timeout(READY_SECONDS_MAX):
                while not await self.is_replicated():  # noqa: ASYNC110 - a server has no event to wait for
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise LocalError(f"no replica followed the leader in {READY_SECONDS_MAX:.0f} s") from None

    async def is_replicated(self, *, replicas: int = 1) -> bool:
        """Whether commits wait for one of so many replicas that follow the leader, and each of them may lead."""
        try:
            connection = await asyncpg.connect(self.dsn("postgres"), timeout=LOGIN_SECONDS_MAX)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        try:
            following: int = await connection.fetchval(REPLICAS, timeout=LOGIN_SECONDS_MAX)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        finally:
            connection.terminate()
        leader = await self.leader()
        return following >= replicas and leader is not None and await leader.count_promotable() >= replicas

    async def leader(self) -> PatroniNode | None:
        """The node that leads now; None while none does."""
        for node in self.nodes:
            if await node.is_leader():
                return node
        return None
