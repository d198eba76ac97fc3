"""Engines that run during the whole gate and are reset before each run of checks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import redis.asyncio

from deploy.local.engines import Postgres, RabbitMQ, Redis
from deploy.local.engines.postgres import DATABASES

VIRTUAL_HOST = "%2F"


class Engines:
    """PostgreSQL, RabbitMQ and Redis below one folder, which is passed to the checks."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._postgres = Postgres(directory / "postgres")
        self._rabbitmq = RabbitMQ(directory / "rabbitmq")
        self._redis = Redis(directory / "redis")
        self._migrated_otherwise: frozenset[str] = frozenset()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Engines]:
        """All three, until the end of the block."""
        engines = (self._postgres, self._rabbitmq, self._redis)
        try:
            for engine in engines:
                await engine.start()
            await self._postgres.provision()
            yield self
        finally:
            for engine in engines:
                await engine.stop()

    async def reset(self, migrated: frozenset[str]) -> None:
        """Remove all data of the last run; `migrated` are the services whose migrations differ in the next one."""
        await self._drop_databases(migrated | self._migrated_otherwise)
        self._migrated_otherwise = migrated
        await self._empty_broker()
        client = redis.asyncio.Redis.from_url(self._redis.url)
        await client.flushall()
        await client.aclose()

    async def _drop_databases(self, services: frozenset[str]) -> None:
        """Drop all copies made by tests, and replace the templates of these services by empty databases."""
        connection = await asyncpg.connect(self._postgres.dsn("postgres"))
        try:
            kept = [database for database in DATABASES if database not in services]
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname <> current_database()"
            )
            for row in await connection.fetch(
                "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> ALL($1::text[])",
                ["postgres", *kept],
            ):
                await connection.execute(f'DROP DATABASE "{row["datname"]}" WITH (FORCE)')
        finally:
            await connection.close()
        if services:
            await self._postgres.provision()

    async def _empty_broker(self) -> None:
        """A new virtual host: no queue, no message, no binding."""
        parts = urlsplit(self._rabbitmq.management_url)
        assert parts.username is not None, "the URL contains the login"
        assert parts.password is not None, "the URL contains the login"
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        async with aiohttp.ClientSession(
            f"http://{parts.hostname}:{parts.port}",
            auth=aiohttp.BasicAuth(parts.username, parts.password),
            raise_for_status=True,
        ) as session:
            await session.delete(f"/api/vhosts/{VIRTUAL_HOST}")
            await session.put(f"/api/vhosts/{VIRTUAL_HOST}")
            await session.put(f"/api/permissions/{VIRTUAL_HOST}/{parts.username}", json=everything)
