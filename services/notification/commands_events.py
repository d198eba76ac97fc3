"""Commands that read feeds: one database transaction per function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from services.chassis import database
from services.chassis.database import Pool
from services.notification import feed, store_events
from services.notification.feed import Event
from services.notification.store_events import Cursor


class FeedUpdate(NamedTuple):
    """The number of the last line of a feed, and its lines after the cursor, at most `limit`."""

    user_id: UUID
    after: int | None
    last_seq: int
    events: list[Event]


async def read_feeds(pool: Pool, cursors: Sequence[Cursor], *, limit: int) -> list[FeedUpdate]:
    """New lines after each cursor; a cursor without new lines is omitted.

    Raises:
        DatabaseUnavailable
    """
    async with database.connection(pool) as connection:
        last_seqs = await store_events.find_last_seqs(connection, cursors)
        moved = [cursors[index] for index in last_seqs]
        lines = await store_events.list_lines(connection, moved, limit=limit) if moved else []
    return [
        FeedUpdate(cursor.user_id, cursor.after, last_seq, _following(found, cursor, limit))
        for cursor, last_seq, found in zip(moved, last_seqs.values(), lines, strict=True)
    ]


def _following(lines: Sequence[Event], cursor: Cursor, limit: int) -> list[Event]:
    return [] if cursor.after is None else feed.following(lines, cursor.after, limit)
