"""What auth is asked about the places of logins."""

from __future__ import annotations

from services.auth import rules, store
from services.chassis import database
from services.chassis.database import Pool


async def is_known(pool: Pool, place: bytes) -> bool:
    """Whether a login from this place succeeded lately. Equally fast for accounts that do not exist."""
    async with database.connection(pool) as connection:
        return await store.known_locations.is_place_known(
            connection, place, days_max=rules.known_locations.REMEMBERED_DAYS
        )
