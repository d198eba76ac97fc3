"""The place of a login: inside the commit of the login."""

from __future__ import annotations

from uuid import UUID

from services.auth import rules, store
from services.chassis.database import Connection


async def note_place(connection: Connection, place: bytes | None, user_id: UUID) -> None:
    """Remember that this user, who is new or locked, proved from here who they are; None is no place."""
    if place is not None and await store.known_locations.insert_place(connection, place, user_id):
        await store.known_locations.prune_places(
            connection,
            user_id,
            days_max=rules.known_locations.REMEMBERED_DAYS,
            count_max=rules.known_locations.REMEMBERED_MAX,
        )
