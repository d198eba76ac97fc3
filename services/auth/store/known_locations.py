"""Locations from which users have logged in."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from services.chassis.database import Connection
from services.chassis.statements import Statements

statements = Statements(Path(__file__).parents[1] / "sql" / "queries" / "known_locations.sql")


async def insert_location(connection: Connection, location: bytes, user_id: UUID) -> bool:
    """Record a login of the user from this location now; return whether the location is new."""
    return bool(await connection.fetchval(statements.insert_location, location, user_id))


async def prune_locations(connection: Connection, user_id: UUID, *, days_max: int, count_max: int) -> None:
    """Delete locations of the user that are too old or beyond the limit."""
    await connection.execute(statements.prune_locations, user_id, days_max, count_max)


async def is_location_known(connection: Connection, location: bytes, *, days_max: int) -> bool:
    """Whether a login from this location succeeded within `days_max` days."""
    return bool(await connection.fetchval(statements.is_location_known, location, days_max))
