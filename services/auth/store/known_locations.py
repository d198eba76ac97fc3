"""The places that accounts logged in from, one typed function per statement."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from services.chassis.database import Connection
from services.chassis.statements import Statements

statements = Statements(Path(__file__).parents[1] / "sql" / "queries" / "known_locations.sql")


async def insert_place(connection: Connection, place: bytes, user_id: UUID) -> bool:
    """Note that the user logged in from this place now; whether it is a new one."""
    return bool(await connection.fetchval(statements.insert_place, place, user_id))


async def prune_places(connection: Connection, user_id: UUID, *, days_max: int, count_max: int) -> None:
    """Forget the user's places that are too old or too many."""
    await connection.execute(statements.prune_places, user_id, days_max, count_max)


async def is_place_known(connection: Connection, place: bytes, *, days_max: int) -> bool:
    """Whether a login from this place succeeded within so many days."""
    return bool(await connection.fetchval(statements.is_place_known, place, days_max))
