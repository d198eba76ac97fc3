"""A private Redis: append-only file, a password, loopback only, never evicts."""

from __future__ import annotations

import shutil

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from deploy.local import files
from deploy.local.engines.engine import Engine
from deploy.local.errors import LocalError
from deploy.local.ports import LOOPBACK
from deploy.local.process import Process

LOGIN_SECONDS_MAX = 1.0
CONFIGURATION = """\
bind {host}
port {port}
dir "{directory}"
requirepass {password}
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
daemonize no
loglevel notice
"""


def find_server() -> str | None:
    """The path of redis-server; None when it is not installed."""
    return shutil.which("redis-server")


class Redis(Engine):
    """A Redis server of its own below one folder."""

    name = "redis"
    programs = frozenset({"redis-server", "setpriv"})
    port_names = ("redis",)

    @property
    def url(self) -> str:
        """The URL with login: redis://:PASSWORD@HOST:PORT/0."""
        return f"redis://:{self._secrets.password('redis')}@{LOOPBACK}:{self._port()}/0"

    async def prepare(self) -> None:
        """Write the configuration; the remembered port is kept if it is free."""
        server = find_server()
        if server is None:
            raise LocalError("redis-server is missing: install the package redis-server")
        files.make_folder(self.directory)
        self.end_orphans()
        self._take_ports()
        configuration = self.directory / "redis.conf"
        text = CONFIGURATION.format(
            host=LOOPBACK,
            port=self._port(),
            directory=str(self.directory).replace("\\", "\\\\").replace('"', '\\"'),
            password=self._secrets.password("redis"),
        )
        files.write_atomically(configuration, text)
        self._process = Process(
            self.name,
            [server, str(configuration)],
            environment={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
            directory=self.directory,
            log=self.log,
        )

    async def is_ready(self) -> bool:
        """Whether a login works and the append-only file is loaded."""
        client = redis.asyncio.Redis.from_url(
            self.url,
            socket_timeout=LOGIN_SECONDS_MAX,
            socket_connect_timeout=LOGIN_SECONDS_MAX,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            return bool(await client.ping())
        except (RedisError, OSError, RuntimeError):  # RuntimeError: uvloop, when the peer has gone
            return False
        finally:
            await client.aclose()

    async def stop(self) -> None:
        """Stop Redis; it completes its append-only file."""
        if self._process is not None:
            await self._process.stop(seconds_max=self.stop_seconds_max)
