"""What the notification service can be asked about the feeds: one database transaction per function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from services.chassis import database
from services.chassis.database import Pool
from services.notification import store_events
from services.notification.store_events import Event, Place


class News(NamedTuple):
    """How far a feed goes, and its lines after the place that was asked for: at most as many as were asked for."""

    user_id: UUID
    after: int | None
    last_seq: int
    events: list[Event]


async def read_feeds(pool: Pool, places: Sequence[Place], *, limit: int) -> list[News]:
    """What is new at these places; a place at which nothing is new is left out.

    Raises:
        DatabaseUnavailable
    """
    async with database.connection(pool) as connection:
        last_seqs = await store_events.find_last_seqs(connection, places)
        moved = [places[index] for index in last_seqs]
        events = await store_events.list_events(connection, moved, limit=limit) if moved else []
    return [
        News(place.user_id, place.after, last_seq, lines)
        for place, last_seq, lines in zip(moved, last_seqs.values(), events, strict=True)
    ]
