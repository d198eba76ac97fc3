"""Readiness: whether the database of a service accepts writes."""

from __future__ import annotations

from pathlib import Path

from services.chassis.database import Pool, connection
from services.chassis.statements import Statements

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
