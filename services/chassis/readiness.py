"""Readiness: whether the database of a service accepts writes, and whether its schema is new enough for this code."""

from __future__ import annotations

from pathlib import Path

import structlog

from services.chassis import revisions
from services.chassis.database import DatabaseUnavailable, LockTimeout, Pool, PostgresError, connection
from services.chassis.roles import Runtime
from services.chassis.statements import Statements

SCHEMA_POLL_SECONDS = 0.5

log = structlog.get_logger()

statements = Statements(Path(__file__).parent / "sql" / "queries_readiness.sql")


class Readiness:
    """Checks whether the database of a pool accepts writes, and replaces connections with outdated settings."""

    def __init__(self, pool: Pool, *others: Pool) -> None:
        """`others` are pools of the same database on which readiness does not depend."""
        self._pool = pool
        self._pools = (pool, *others)
        self._settings: str | None = None

    async def ping(self) -> None:
        """Raise unless a write succeeds; for `/readyz`.

        The write waits for the write-ahead log, and for a synchronous standby if there is one.
        """
        async with connection(self._pool) as borrowed:
            settings = await borrowed.fetchval(statements.read_session_settings)
        if self._settings not in (None, settings):
            # Open connections have other settings, and may use the wrong schema without any error.
            for pool in self._pools:
                await pool.expire_connections()
        self._settings = settings
        async with connection(self._pool) as borrowed:
            await borrowed.execute(statements.probe_writable)


class SchemaOutdated(Exception):  # noqa: N818 - reads as what it is
    """The schema is older than this code needs. A migration is missing, or still running."""


class Schema:
    """Checks whether the schema is at least at the newest revision that this code knows; a newer one is fine.

    The revision is read each time: the database may be replaced by an older one, by a restore for instance.
    """

    def __init__(self, pool: Pool, service: str) -> None:
        self._pool = pool
        self._needed = revisions.newest(service)
        self._is_outdated = False

    async def ping(self) -> None:
        """Raise unless the schema is known to be new enough; for `/readyz`.

        Raises:
            SchemaOutdated
            DatabaseUnavailable: it is not known.
        """
        async with connection(self._pool) as borrowed:
            is_readable = await borrowed.fetchval(statements.can_read_revision)
            found = await borrowed.fetchval(statements.read_revision) if is_readable else None
        is_outdated = found is None or found < self._needed
        if is_outdated and not self._is_outdated:
            log.warning("schema_outdated", found=found, needed=self._needed)
        if self._is_outdated and not is_outdated:
            log.info("schema_accepted", found=found, needed=self._needed)
        self._is_outdated = is_outdated
        if is_outdated:
            raise SchemaOutdated

    async def wait(self, runtime: Runtime, *, serves: bool = False) -> None:
        """Wait until the schema is new enough, or the role stops. Nothing may be claimed or consumed before.

        A role that serves requests waits no longer if the database is unavailable: it has to refuse them.
        """
        while not runtime.stopping.is_set():
            try:
                await self.ping()
            except SchemaOutdated:
                pass
            except (DatabaseUnavailable, LockTimeout, PostgresError):
                if serves:
                    return
            else:
                return
            await runtime.pause(SCHEMA_POLL_SECONDS)


def register(runtime: Runtime, pool: Pool, *others: Pool) -> Schema:
    """Make the readiness of a role depend on the database of a pool and on its schema; `others` as for `Readiness`."""
    schema = Schema(pool, runtime.service)
    runtime.health.register("postgres", Readiness(pool, *others).ping)
    runtime.health.register("schema", schema.ping)
    return schema
