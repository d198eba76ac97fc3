"""The location of a login, recorded in the commit of the login."""

from __future__ import annotations

from uuid import UUID

from services.auth import rules, store
from services.chassis.database import Connection


async def record_location(connection: Connection, location: bytes | None, user_id: UUID) -> None:
    """Record where this user, whose row is new or locked, logged in from. None: the location is unknown."""
    if location is not None and await store.known_locations.insert_location(connection, location, user_id):
        await store.known_locations.prune_locations(
            connection,
            user_id,
            days_max=rules.known_locations.REMEMBERED_DAYS,
            count_max=rules.known_locations.REMEMBERED_MAX,
        )
