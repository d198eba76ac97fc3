"""A private RabbitMQ: own node, own port mapper, own cookie, everything on the loopback.

The server script of the package is called directly. The wrappers on the search path change to the
system's folder and user.
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
from deploy.local.ports import LOOPBACK
from deploy.local.process import Process
from deploy.local.trouble import Trouble

USER = "payflow"
NODE = "payflow@localhost"
HEARTBEAT_SECONDS = 10
LOGIN_SECONDS_MAX = 3.0
EPMD_SECONDS_MAX = 5.0
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


def find_server() -> Path | None:
    """The server script of the newest RabbitMQ; None when it is not installed."""
    for pattern in SERVER_SCRIPTS:
        found = sorted(Path("/").glob(pattern.lstrip("/")))
        if found:
            return found[-1]
    return None


class RabbitMQ(Engine):
    """A RabbitMQ node of its own below one folder."""

    name = "rabbitmq"
    programs = frozenset({"beam.smp", "epmd", "erl", "erlexec", "erl_child_setup", "inet_gethost", "sh", "setpriv"})
    port_names = (
        "rabbitmq",
        "rabbitmq_management",
        "rabbitmq_prometheus",
        "rabbitmq_distribution",
        "rabbitmq_epmd",
    )

    @property
    def url(self) -> str:
        """Where and how to log in: amqp://USER:PASSWORD@HOST:PORT/."""
        return f"amqp://{USER}:{self._secrets.password('rabbitmq')}@{LOOPBACK}:{self._port()}/"

    @property
    def management_url(self) -> str:
        """The management API, login included: http://USER:PASSWORD@HOST:PORT."""
        password = self._secrets.password("rabbitmq")
        return f"http://{USER}:{password}@{LOOPBACK}:{self._port('_management')}"

    @property
    def metrics_url(self) -> str:
        """Where the broker tells its own metrics."""
        return f"http://{LOOPBACK}:{self._port('_prometheus')}/metrics"

    async def prepare(self) -> None:
        """Write cookie, plugins and configuration; ports are remembered unless they are taken."""
        server = find_server()
        epmd = shutil.which("epmd")
        if server is None or epmd is None:
            raise Trouble("RabbitMQ is missing: install the package rabbitmq-server")
        self.directory.mkdir(parents=True, exist_ok=True)
        self.end_orphans()
        self._take_ports()
        self._write_configuration()
        environment = self._environment()
        self._process = Process(
            self.name, [str(server)], environment=environment, directory=self.directory, log=self.log
        )
        self._epmd = Process(
            "rabbitmq-epmd",
            [epmd, "-port", str(self._port("_epmd")), "-address", LOOPBACK],
            environment=environment,
            directory=self.directory,
            log=self.log,
        )

    def spawn(self) -> None:
        """Start the port mapper and the node, after ending what an earlier one left."""
        self._epmd.kill()
        self.end_orphans()
        self._epmd.spawn()
        assert self._process is not None, "spawn follows prepare"
        self._process.spawn()

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
        except (aio_pika.exceptions.AMQPError, OSError, TimeoutError):
            return False
        return True

    async def stop(self) -> None:
        """Stop the node cleanly, then its port mapper."""
        if self._process is not None:
            await self._process.stop(seconds_max=self.stop_seconds_max)
            self.kill()

    def kill(self) -> None:
        """End the node and its port mapper with SIGKILL and wait until they are gone."""
        if self._process is not None:
            self._epmd.kill()
        super().kill()

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
        files.write_atomically(self.directory / "rabbitmq.conf", text, mode=0o600)

    def _environment(self) -> dict[str, str]:
        home = str(self.directory)
        loopback = "{127,0,0,1}"
        return {
            "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            "LC_ALL": "C.UTF-8",
            "HOME": home,
            "RABBITMQ_NODENAME": NODE,
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_NODE_PORT": str(self._port()),
            "RABBITMQ_DIST_PORT": str(self._port("_distribution")),
            "ERL_EPMD_PORT": str(self._port("_epmd")),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "RABBITMQ_BASE": home,
            "RABBITMQ_MNESIA_BASE": f"{home}/mnesia",
            "RABBITMQ_LOG_BASE": f"{home}/log",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{home}/generated",
            "RABBITMQ_PID_FILE": f"{home}/rabbitmq.pid",
            "RABBITMQ_CONFIG_FILE": f"{home}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{home}/enabled_plugins",
            "RABBITMQ_CONF_ENV_FILE": f"{home}/none",
            # The script becomes the node instead of waiting beside it; the node reads no input.
            "RABBITMQ_ALLOW_INPUT": "1",
            # No busy waiting: on a machine shared with PostgreSQL and the services a spinning scheduler is stolen time.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                f"-noinput +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {loopback}"
            ),
        }
