"""HAProxy in front of the PostgreSQL nodes: one port that always leads to the current leader, and one for a replica.

It checks the role of each node at its daemon twice a second, and closes the connections to a node that no longer leads.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

from deploy.local import files
from deploy.local.engines.engine import Engine
from deploy.local.engines.postgres import Address
from deploy.local.errors import LocalError
from deploy.local.ports import LOOPBACK, Ports
from deploy.local.process import Process

CONFIGURATION = """\
global
    maxconn 2000
defaults
    mode tcp
    timeout connect 2s
    # As long as the longest statement of a proof; PostgreSQL has its own limits.
    timeout client 1h
    timeout server 1h
    timeout check 2s
    option clitcpka
    option srvtcpka
"""
SECTION = """\
listen {name}
    bind {host}:{port}
    option httpchk OPTIONS /{name}
    http-check expect status 200
    default-server inter 500ms fall 3 rise 1 on-marked-down shutdown-sessions
"""
SERVER = "    server {name} {host}:{port} check addr {api_host} port {api_port}\n"


def find_server() -> str | None:
    """The path of haproxy; None when it is not installed."""
    return shutil.which("haproxy") or next((str(path) for path in [Path("/usr/sbin/haproxy")] if path.exists()), None)


class HAProxy(Engine):
    """The way of all services to PostgreSQL. It has no data."""

    name = "haproxy"
    programs = frozenset({"haproxy", "setpriv"})
    port_names = ("haproxy_primary", "haproxy_replica")
    holds_databases = True

    def __init__(self, directory: Path, *, ports: Ports, log: Path | None = None) -> None:
        """Keep the configuration in `directory`."""
        super().__init__(directory, ports=ports, log=log)
        self.servers: Sequence[tuple[str, Address, Address]] = ()
        """Name, address of the server, address of the daemon, for each node."""

    @property
    def primary(self) -> Address:
        """The address that leads to the leader."""
        return LOOPBACK, self._ports.get("haproxy_primary")

    @property
    def replica(self) -> Address:
        """The address that leads to one of the replicas."""
        return LOOPBACK, self._ports.get("haproxy_replica")

    async def prepare(self) -> None:
        """Write the configuration."""
        server = find_server()
        if server is None:
            raise LocalError("haproxy is missing: install the package haproxy")
        files.make_folder(self.directory)
        self.end_orphans()
        path = self.directory / "haproxy.cfg"
        sections = [self._section("primary", self.primary), self._section("replica", self.replica)]
        files.write_atomically(path, CONFIGURATION + "".join(sections))
        self._process = Process(
            self.name,
            [server, "-db", "-f", str(path)],
            environment={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
            directory=self.directory,
            log=self.log,
        )

    async def is_ready(self) -> bool:
        """Whether it accepts connections. Whether there is a leader is the business of the nodes."""
        try:
            _, writer = await asyncio.open_connection(*self.primary)
        except OSError:
            return False
        writer.close()
        return True

    async def stop(self) -> None:
        """Stop it and close all connections."""
        if self._process is not None:
            await self._process.stop(seconds_max=self.stop_seconds_max)

    def _section(self, name: str, address: Address) -> str:
        host, port = address
        lines = [SECTION.format(name=name, host=host, port=port)]
        for server, (server_host, server_port), (api_host, api_port) in self.servers:
            lines.append(
                SERVER.format(name=server, host=server_host, port=server_port, api_host=api_host, api_port=api_port)
            )
        return "".join(lines)
