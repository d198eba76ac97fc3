"""Commands about the background processes: their heartbeats, and the transfers that wait for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.chassis import database
from services.chassis.database import Pool, Record
from services.transaction import store


async def record_heartbeat(pool: Pool, name: str, state: Mapping[str, Any]) -> None:
    """Record that a background process is alive, and its state."""
    async with database.transaction(pool) as connection:
        await store.record_heartbeat(connection, name, state)


async def delete_old_heartbeats(pool: Pool, seconds: float) -> None:
    """Delete the heartbeats of processes that have been silent for so long."""
    async with database.transaction(pool) as connection:
        await store.delete_old_heartbeats(connection, seconds)


async def list_heartbeats(pool: Pool) -> dict[str, dict[str, Any]]:
    """The last state of each background process."""
    async with database.connection(pool) as connection:
        return await store.list_heartbeats(connection)


async def measure(pool: Pool) -> tuple[Record, dict[str, dict[str, Any]]]:
    """Measure pending transfers, and read the heartbeats of the background processes."""
    async with database.connection(pool) as connection:
        return await store.measure_pending(connection), await store.list_heartbeats(connection)
