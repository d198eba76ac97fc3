"""A private stack on clusters for fault injection: the nodes reach one another through fault proxies."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from deploy.local.commands import running
from deploy.local.engines import PostgresCluster, RabbitMQCluster
from deploy.local.engines.patroni import PatroniNode
from deploy.local.engines.postgres import Address
from deploy.local.home import Home
from deploy.local.payflow import PayFlow
from deploy.local.ports import LOOPBACK, find_free
from deploy.local.progress import Report
from tests.chaos.proxy import Edge
from tests.chaos.system import CLIENTS, System

SETTINGS = {"PAYFLOW_RATE_LIMITS": "off", "PAYFLOW_CANARY": "off"}
"""The reversal age stays as users have it: it must be longer than a failover."""

LEADER_SECONDS_MAX = 90.0
POLL_SECONDS = 0.1


class ProxiedClusters(PayFlow):
    """The whole system on clusters; each PostgreSQL node reaches etcd, and is reached by the other nodes, through proxies."""

    links: dict[str, dict[str, Edge]]
    """By the name of a node: all ways from and to the other nodes."""

    @property
    def postgres(self) -> PostgresCluster:
        """The PostgreSQL nodes."""
        assert isinstance(self._private.postgres, PostgresCluster), "started with HA=1"
        return self._private.postgres

    @property
    def rabbitmq(self) -> RabbitMQCluster:
        """The RabbitMQ nodes."""
        assert isinstance(self._private.rabbitmq, RabbitMQCluster), "started with HA=1"
        return self._private.rabbitmq

    async def install(self) -> None:
        """Choose the ports, then put the proxies between the nodes."""
        await super().install()
        self.links = {node.name: self._links(node) for node in self.postgres.nodes}
        await asyncio.gather(*(link.start() for links in self.links.values() for link in links.values()))
        for node in self.postgres.nodes:
            links = self.links[node.name]
            node.advertised = _address(links["nodes>server"])
            node.advertised_api = _address(links["nodes>daemon"])
            node.etcd = [_address(links[f"node>{member.name}"])() for member in self.postgres.etcd]

    def _links(self, node: PatroniNode) -> dict[str, Edge]:
        ways = {"nodes>server": lambda: node.address, "nodes>daemon": lambda: node.api}
        for member in self.postgres.etcd:
            ways[f"node>{member.name}"] = lambda member=member: member.address  # type: ignore[misc]
        return {name: Edge(f"{node.name}: {name}", upstream) for name, upstream in ways.items()}


class Clusters(System):
    """A running private stack on clusters and everything that can break it."""

    plan: ProxiedClusters
    heal_seconds_max = 150.0  # a former leader is rewound, or copied again, before it follows

    async def leader(self) -> PatroniNode:
        """The PostgreSQL node that leads. Raises TimeoutError: none does for a long time."""
        async with asyncio.timeout(LEADER_SECONDS_MAX):
            while True:
                leader = await self.plan.postgres.leader()
                if leader is not None:
                    return leader
                await asyncio.sleep(POLL_SECONDS)

    async def replicas(self) -> list[PatroniNode]:
        """The other nodes."""
        leader = await self.leader()
        return [node for node in self.plan.postgres.nodes if node is not leader]

    async def until_replaced(self, former: PatroniNode) -> None:
        """Wait until another node leads. Raises TimeoutError: none does for a long time."""
        others = [node for node in self.plan.postgres.nodes if node is not former]
        async with asyncio.timeout(LEADER_SECONDS_MAX):
            while not any([await node.is_leader() for node in others]):
                await asyncio.sleep(POLL_SECONDS)

    async def _is_ready(self, name: str) -> bool:
        """Whether a part, or for the name of a fault's target everything, is ready again."""
        if name in {*self.engines, *self.processes}:
            return await super()._is_ready(name)
        names = [*self.engines, *self.processes]
        parts = await asyncio.gather(*(super(Clusters, self)._is_ready(one) for one in names))
        return all(parts) and await self.plan.postgres.is_replicated(replicas=2)


@asynccontextmanager
async def start(home: Path, *, report: Report, settings: Mapping[str, str] = SETTINGS) -> AsyncIterator[Clusters]:
    """Start a private stack on clusters below `home`; stop everything afterwards."""
    caller = {name: value for name, value in os.environ.items() if not name.startswith("PAYFLOW_")}
    port = str(find_free())
    place = Home(home, clustered=True)
    plan = ProxiedClusters(place, caller | dict(settings) | {"HA": "1", "PAYFLOW_GATEWAY_PORT": port})
    clients = Edge(CLIENTS, lambda: (LOOPBACK, plan.gateway_port))
    async with AsyncExitStack() as stack:
        await clients.start()
        stack.push_async_callback(clients.close)
        stack.push_async_callback(_close, plan)
        await stack.enter_async_context(running(place, plan, report=report))
        system = Clusters(home, plan, clients)
        stack.push_async_callback(system.session.close)
        yield system


async def _close(plan: ProxiedClusters) -> None:
    links = [link for links in getattr(plan, "links", {}).values() for link in links.values()]
    await asyncio.gather(*(link.close() for link in links))


def _address(link: Edge) -> Callable[[], Address]:
    return lambda: (LOOPBACK, link.port)
