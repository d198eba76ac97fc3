"""A private etcd cluster: where the PostgreSQL nodes of Patroni agree on their leader."""

from __future__ import annotations

import shutil
from pathlib import Path

from deploy.local import files
from deploy.local.engines.engine import Engine, is_ok
from deploy.local.errors import LocalError
from deploy.local.ports import LOOPBACK, Ports, is_free
from deploy.local.process import Process

NODES = (1, 2, 3)


def find_server() -> str | None:
    """The path of etcd; None when it is not installed."""
    return shutil.which("etcd")


class Etcd(Engine):
    """One node of the cluster. Its data are kept; a majority must run for anything to be written."""

    programs = frozenset({"etcd", "setpriv"})
    holds_databases = True

    def __init__(self, directory: Path, number: int, *, ports: Ports, log: Path | None = None) -> None:
        """Describe node `number`, from 1, below `directory`."""
        self.name = f"etcd-{number}"
        super().__init__(directory, ports=ports, log=log)
        self.port_names = (self.name, f"{self.name}_peer")

    @property
    def address(self) -> tuple[str, int]:
        """Where clients connect."""
        return LOOPBACK, self._port()

    def keep_ports(self) -> None:
        """Choose the ports, once: the nodes record one another's addresses in their data.

        Raises:
            LocalError: another program uses one of them.
        """
        for name in self.port_names:
            port = self._ports.get(name)
            if not is_free(port):
                raise LocalError(f"port {port} of {self.name} is used by another program: stop it")

    async def prepare(self) -> None:
        """Create the data folder. The ports were taken for all nodes at once: each node must know those of the others."""
        server = find_server()
        if server is None:
            raise LocalError("etcd is missing: install the package etcd-server")
        files.make_folder(self.directory)
        self.end_orphans()
        self._process = Process(
            self.name,
            [server, *self._options()],
            environment={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
            directory=self.directory,
            log=self.log,
        )

    async def is_ready(self) -> bool:
        """Whether the node knows a leader, so that it can be written to."""
        return await is_healthy(self.address)

    async def stop(self) -> None:
        """Stop the node."""
        if self._process is not None:
            await self._process.stop(seconds_max=self.stop_seconds_max)

    def _options(self) -> list[str]:
        client, peer = f"http://{LOOPBACK}:{self._port()}", f"http://{LOOPBACK}:{self._port('_peer')}"
        members = [f"etcd-{number}=http://{LOOPBACK}:{self._ports.get(f'etcd-{number}_peer')}" for number in NODES]
        return [
            *("--name", self.name, "--data-dir", str(self.directory / "data")),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", ",".join(members), "--initial-cluster-state", "new"),
            # Faster than the defaults (100 ms, 1 s): all nodes are on this machine. Not so fast that a busy one loses its leader.
            *("--heartbeat-interval", "100", "--election-timeout", "1500"),
            *("--logger", "zap", "--log-level", "warn", "--auto-compaction-retention", "1"),
        ]


async def is_healthy(address: tuple[str, int]) -> bool:
    """Whether the node at an address knows a leader."""
    host, port = address
    return await is_ok(f"http://{host}:{port}/health")
