"""A private RabbitMQ cluster: several nodes on this machine that are started together."""

from __future__ import annotations

import asyncio
from pathlib import Path

from deploy.local import files
from deploy.local.engines.rabbitmq import Node, port_mapper
from deploy.local.ports import Ports
from deploy.secrets.store import Secrets

NODES_COUNT = 3


class ClusterNode(Node):
    """One of the nodes; each has its data in a folder of its own, and all share ports file, password and cookie."""

    ready_seconds_max = 120.0  # the first start waits for the others

    def __init__(self, directory: Path, number: int, *, ports: Ports, secrets: Secrets) -> None:
        """Describe node `number`, from 1."""
        super().__init__(directory / f"node-{number}", ports=ports, secrets=secrets)
        self.name = f"rabbitmq-{number}"
        self.log = self.directory / "rabbitmq.log"
        self.node = f"payflow-{number}@localhost"
        self.peers = tuple(f"payflow-{peer}@localhost" for peer in range(1, NODES_COUNT + 1))
        self.port_names = tuple(name.replace("rabbitmq", self.name, 1) for name in Node.port_names)

    @property
    def mapper_port(self) -> int:
        """The port of the port mapper that all nodes use."""
        return self._ports.get("rabbitmq_epmd")


class RabbitMQCluster:
    """Three nodes and their port mapper. A node can be killed and spawned by itself; the mapper stays."""

    def __init__(self, directory: Path) -> None:
        """Keep everything below `directory`."""
        self.directory = directory.resolve()
        self._ports = Ports(self.directory / "ports.json")
        secrets = Secrets(self.directory / "secrets.json")
        self.nodes = [
            ClusterNode(self.directory, number, ports=self._ports, secrets=secrets)
            for number in range(1, NODES_COUNT + 1)
        ]

    @property
    def url(self) -> str:
        """The URLs of all nodes, separated by commas, as services accept them."""
        return ",".join(node.url for node in self.nodes)

    async def start(self) -> None:
        """Start all nodes at once and wait until each accepts a login and has joined the others.

        Raises:
            LocalError: RabbitMQ is not installed, a node ended at once, or it took too long.
        """
        files.make_folder(self.directory)
        for node in self.nodes:
            await node.prepare()
        self._mapper = port_mapper(self._ports.take("rabbitmq_epmd"), self.directory, self.directory / "epmd.log")
        self._mapper.spawn()
        try:
            for node in self.nodes:
                node.spawn()
            await asyncio.gather(*(node.wait_ready() for node in self.nodes))
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """Kill everything and wait for its end."""
        for node in self.nodes:
            node.kill()
        self._mapper.kill()
