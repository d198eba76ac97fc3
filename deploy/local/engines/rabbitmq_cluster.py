"""A private RabbitMQ cluster: several nodes on this machine, and the port mapper by which they find one another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from deploy.local import files
from deploy.local.engines.engine import Engine
from deploy.local.engines.rabbitmq import Node, port_mapper
from deploy.local.ports import LOOPBACK, Ports
from deploy.secrets.store import Secrets

NODES = (1, 2, 3)


class ClusterNode(Node):
    """One of the nodes; each has its data in a folder of its own, and all share ports file, password and cookie."""

    ready_seconds_max = 120.0  # the first start waits for the others

    def __init__(
        self, directory: Path, number: int, *, ports: Ports, secrets: Secrets, log: Path | None = None
    ) -> None:
        """Describe node `number`, from 1, below `directory`."""
        self.name = f"rabbitmq-{number}"
        super().__init__(directory, ports=ports, secrets=secrets, log=log)
        self.node = f"payflow-{number}@localhost"
        self.peers = tuple(f"payflow-{peer}@localhost" for peer in NODES)
        self.port_names = tuple(name.replace("rabbitmq", self.name, 1) for name in Node.port_names)

    @property
    def mapper_port(self) -> int:
        """The port of the port mapper that all nodes use."""
        return self._ports.get("rabbitmq_epmd")


class PortMapper(Engine):
    """The program that knows the ports of the nodes. It stays when nodes are killed."""

    name = "rabbitmq-epmd"
    programs = frozenset({"epmd", "setpriv"})
    port_names = ("rabbitmq_epmd",)

    async def prepare(self) -> None:
        """Find the program."""
        files.make_folder(self.directory)
        self.end_orphans()
        self._process = port_mapper(self._ports.get("rabbitmq_epmd"), self.directory, self.log)

    async def is_ready(self) -> bool:
        """Whether it accepts connections."""
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, self._ports.get("rabbitmq_epmd"))
        except OSError:
            return False
        writer.close()
        return True

    async def stop(self) -> None:
        """End it. It has no state."""
        self.kill()


class RabbitMQCluster:
    """Three nodes and their port mapper. A node can be killed and spawned by itself; the mapper stays."""

    def __init__(
        self,
        directory: Path,
        *,
        ports: Ports | None = None,
        secrets: Secrets | None = None,
        log: Callable[[str], Path] | None = None,
    ) -> None:
        """Keep everything below `directory`, unless ports, secrets or the logs by name are given."""
        self.directory = directory.resolve()
        self._ports = ports or Ports(self.directory / "ports.json")
        secrets = secrets or Secrets(self.directory / "secrets.json")
        log = log or (lambda name: self.directory / f"{name}.log")
        self.mapper = PortMapper(self.directory / "rabbitmq-epmd", ports=self._ports, log=log(PortMapper.name))
        self.nodes = [
            ClusterNode(
                self.directory / f"rabbitmq-{number}",
                number,
                ports=self._ports,
                secrets=secrets,
                log=log(f"rabbitmq-{number}"),
            )
            for number in NODES
        ]

    @property
    def parts(self) -> list[Engine]:
        """The port mapper and the nodes."""
        return [self.mapper, *self.nodes]

    @property
    def url(self) -> str:
        """The URLs of all nodes, separated by commas, as services accept them."""
        return ",".join(node.url for node in self.nodes)

    @property
    def management_url(self) -> str:
        """The management API of the first node, which knows the others."""
        return self.nodes[0].management_url

    def choose_ports(self) -> None:
        """Choose the ports of all parts at once: each node must know those of the others."""
        for engine in self.parts:
            for name in engine.port_names:
                self._ports.take(name)

    async def start(self) -> None:
        """Start all nodes at once and wait until each accepts a login and has joined the others.

        Raises:
            LocalError: RabbitMQ is not installed, a node ended at once, or it took too long.
        """
        files.make_folder(self.directory)
        self.choose_ports()
        try:
            await self.mapper.start()
            await asyncio.gather(*(node.start() for node in self.nodes))
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """Kill everything and wait for its end."""
        for node in self.nodes:
            node.kill()
        self.mapper.kill()
