"""A private RabbitMQ: own nodes, own port mapper and own cookie, on the loopback only.

The server script of the package is called directly, because the wrappers on the search path change to the folder and user of
the system's RabbitMQ.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import aio_pika
import aio_pika.exceptions

from deploy.local import files
from deploy.local.engines.engine import Engine, quiet
from deploy.local.errors import LocalError
from deploy.local.ports import LOOPBACK
from deploy.local.process import Process

USER = "payflow"
NODE = "payflow@localhost"
HEARTBEAT_SECONDS = 10
LOGIN_SECONDS_MAX = 3.0
CONTROL_SECONDS_MAX = 15
MISSING = "RabbitMQ is missing: install the package rabbitmq-server"
SERVER_SCRIPTS = (
    "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server",
    "/opt/homebrew/opt/rabbitmq/sbin/rabbitmq-server",
    "/usr/local/opt/rabbitmq/sbin/rabbitmq-server",
)
PLUGINS = "[rabbitmq_management,rabbitmq_prometheus].\n"
CONFIGURATION = """\
listeners.tcp.1 = {host}:{amqp}
management.tcp.ip = {host}
management.tcp.port = {management}
prometheus.tcp.ip = {host}
prometheus.tcp.port = {prometheus}
default_user = {user}
default_pass = {password}
heartbeat = {heartbeat_seconds}
disk_free_limit.absolute = 50MB
vm_memory_high_watermark.absolute = 1GB
raft.wal_max_size_bytes = 67108864
log.console = true
log.console.level = warning
log.console.use_colors = off
log.file = false
"""


CLUSTER = """\
cluster_formation.peer_discovery_backend = classic_config
cluster_partition_handling = pause_minority
"""
ELECTION = (
    "[ra:trigger_election(P) || Q <- rabbit_amqqueue:list(), {N, _} = P <- [amqqueue:get_pid(Q)], "
    "amqqueue:get_type(Q) == rabbit_quorum_queue, ra_leaderboard:lookup_leader(N) == undefined]."
)
"""For `rabbitmqctl eval`: the members on this node of quorum queues that have no leader stand for election."""


def find_server() -> Path | None:
    """The server script of the newest RabbitMQ; None when it is not installed."""
    for pattern in SERVER_SCRIPTS:
        found = sorted(Path("/").glob(pattern.lstrip("/")))
        if found:
            return found[-1]
    return None


class Node(Engine):
    """A RabbitMQ node below one folder, without the port mapper by which nodes find one another."""

    name = "rabbitmq"
    programs = frozenset({"beam.smp", "epmd", "erl", "erlexec", "erl_child_setup", "inet_gethost", "sh", "setpriv"})
    port_names: tuple[str, ...] = (
        "rabbitmq",
        "rabbitmq_management",
        "rabbitmq_prometheus",
        "rabbitmq_distribution",
    )
    node = NODE
    peers: tuple[str, ...] = ()
    """The nodes of the cluster, this one included; empty for a single node."""

    @property
    def mapper_port(self) -> int:
        """The port of the port mapper."""
        return self._port("_epmd")

    @property
    def url(self) -> str:
        """The URL with login: amqp://USER:PASSWORD@HOST:PORT/."""
        return f"amqp://{USER}:{self._secrets.password('rabbitmq')}@{LOOPBACK}:{self._port()}/"

    @property
    def management_url(self) -> str:
        """The URL of the management API with login: http://USER:PASSWORD@HOST:PORT."""
        password = self._secrets.password("rabbitmq")
        return f"http://{USER}:{password}@{LOOPBACK}:{self._port('_management')}"

    @property
    def metrics_url(self) -> str:
        """The address of the broker's own metrics."""
        return f"http://{LOOPBACK}:{self._port('_prometheus')}/metrics"

    @property
    def parts(self) -> list[Engine]:
        """What is started for it: the node itself."""
        return [self]

    async def prepare(self) -> None:
        """Write cookie, plugins and configuration; remembered ports are kept if they are free."""
        server = find_server()
        if server is None:
            raise LocalError(MISSING)
        files.make_folder(self.directory)
        self.end_orphans()
        self._remove_data_if_moved()
        self._take_ports()
        self._write_configuration()
        self._process = Process(
            self.name, [str(server)], environment=self._environment(), directory=self.directory, log=self.log
        )

    async def evaluate(self, expression: str) -> str:
        """The value of an Erlang expression in the running node.

        Raises:
            LocalError: the evaluation failed, or timed out.
        """
        server = find_server()
        assert server is not None, "a node runs"
        control = await asyncio.create_subprocess_exec(
            server.with_name("rabbitmqctl"),
            *("--node", self.node, "--timeout", str(CONTROL_SECONDS_MAX), "eval", expression),
            env=self._environment(),
            cwd=self.directory,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await control.communicate()
        if control.returncode:
            raise LocalError(f"rabbitmqctl: {output.decode(errors='replace').strip()}")
        return output.decode(errors="replace").strip()

    async def is_ready(self) -> bool:
        """Whether an AMQP login works: the port is open well before that."""
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, self._port())
        except OSError:
            return False
        writer.close()
        try:
            with quiet("aio_pika", "aiormq"):
                connection = await aio_pika.connect(self.url, timeout=LOGIN_SECONDS_MAX)
                await connection.close()
        except (aio_pika.exceptions.AMQPError, StopAsyncIteration, OSError, TimeoutError, RuntimeError):
            return False
        return True

    async def stop(self) -> None:
        """Stop the node cleanly."""
        if self._process is not None:
            await self._process.stop(seconds_max=self.stop_seconds_max)
            self.kill()

    def _remove_data_if_moved(self) -> None:
        """Remove the node's data if they were created at another path.

        A quorum queue records the path of its folder and gets no leader at another one. Losing the data is safe: the
        services declare their queues, publish from their outboxes, and end transfers whose messages the broker has lost.
        """
        made_at = self.directory / "made_at"
        here = str(self.directory)
        if not made_at.exists() or made_at.read_text(encoding="utf-8", errors="surrogateescape") != here:
            shutil.rmtree(self.directory / "mnesia", ignore_errors=True)
            files.write_atomically(made_at, here)

    def _write_configuration(self) -> None:
        cookie = self.directory / ".erlang.cookie"
        if not cookie.exists():
            files.write_atomically(cookie, self._secrets.password("erlang_cookie"), mode=0o400)
        files.write_atomically(self.directory / "enabled_plugins", PLUGINS)
        text = CONFIGURATION.format(
            host=LOOPBACK,
            amqp=self._port(),
            management=self._port("_management"),
            prometheus=self._port("_prometheus"),
            user=USER,
            password=self._secrets.password("rabbitmq"),
            heartbeat_seconds=HEARTBEAT_SECONDS,
        )
        if self.peers:
            text += CLUSTER
        for number, peer in enumerate(self.peers, start=1):
            text += f"cluster_formation.classic_config.nodes.{number} = {peer}\n"
        files.write_atomically(self.directory / "rabbitmq.conf", text)

    def _environment(self) -> dict[str, str]:
        home = str(self.directory)
        loopback = "{127,0,0,1}"
        return {
            "PATH": search_path(),
            "LC_ALL": "C.UTF-8",
            "HOME": home,
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_NODE_PORT": str(self._port()),
            "RABBITMQ_DIST_PORT": str(self._port("_distribution")),
            "ERL_EPMD_PORT": str(self.mapper_port),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "RABBITMQ_BASE": home,
            "RABBITMQ_MNESIA_BASE": f"{home}/mnesia",
            "RABBITMQ_LOG_BASE": f"{home}/log",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{home}/generated",
            "RABBITMQ_PID_FILE": f"{home}/rabbitmq.pid",
            "RABBITMQ_CONFIG_FILE": f"{home}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{home}/enabled_plugins",
            "RABBITMQ_CONF_ENV_FILE": f"{home}/none",
            # The script executes the node instead of waiting for it; the node reads no input.
            "RABBITMQ_ALLOW_INPUT": "1",
            # No busy waiting: a spinning scheduler takes CPU time from PostgreSQL and the services.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                f"-noinput +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {loopback}"
            ),
        }


class RabbitMQ(Node):
    """A RabbitMQ node of its own, with its port mapper."""

    port_names = (*Node.port_names, "rabbitmq_epmd")

    async def prepare(self) -> None:
        """Write cookie, plugins and configuration; remembered ports are kept if they are free."""
        await super().prepare()
        self._mapper = port_mapper(self.mapper_port, self.directory, self.log)

    def spawn(self) -> None:
        """Start the port mapper and the node, after ending leftover processes."""
        self._mapper.kill()
        self.end_orphans()
        self._mapper.spawn()
        assert self._process is not None, "spawn follows prepare"
        self._process.spawn()

    def kill(self) -> None:
        """Kill the node and its port mapper and wait for their end."""
        if self._process is not None:
            self._mapper.kill()
        super().kill()


def port_mapper(port: int, directory: Path, log: Path) -> Process:
    """The program that knows the ports of the nodes; a private one, not the system's.

    Raises:
        LocalError: it is not installed.
    """
    program = shutil.which("epmd")
    if program is None:
        raise LocalError(MISSING)
    return Process(
        "rabbitmq-epmd",
        [program, "-port", str(port), "-address", LOOPBACK],
        environment={"PATH": search_path(), "HOME": str(directory)},
        directory=directory,
        log=log,
    )


def search_path() -> str:
    """The search path for programs."""
    return os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
