"""Locations from which a user has logged in."""

from __future__ import annotations

from services.auth import rules, store
from services.chassis import database
from services.chassis.database import Pool


async def is_known(pool: Pool, location: bytes) -> bool:
    """Whether a login from this location succeeded recently. Takes the same time for unknown accounts."""
    async with database.connection(pool) as connection:
        return await store.known_locations.is_location_known(
            connection, location, days_max=rules.known_locations.REMEMBERED_DAYS
        )
