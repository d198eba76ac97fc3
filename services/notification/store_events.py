"""One typed function per statement on the feeds as they are served."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from services.chassis.database import Connection
from services.chassis.statements import Statements

statements = Statements(Path(__file__).parent / "sql" / "queries_events.sql")


class Place(NamedTuple):
    """Somebody's feed, and the number after which it is asked for; None: only how far the feed goes."""

    user_id: UUID
    after: int | None


class Event(NamedTuple):
    """A line of a feed; `payload` is JSON text on one line."""

    seq: int
    type: str
    payload: str


async def find_last_seqs(connection: Connection, places: Sequence[Place]) -> dict[int, int]:
    """How far each feed goes, by the index of its place; those that end where they are asked for are left out."""
    rows = await connection.fetch(statements.find_last_seqs, *_columns(places))
    return {row["at"] - 1: row["last_seq"] for row in rows}


async def list_events(connection: Connection, places: Sequence[Place], *, limit: int) -> list[list[Event]]:
    """For each place the next lines of its feed, in order, at most `limit` of each."""
    found: list[list[Event]] = [[] for _ in places]
    for at, *event in await connection.fetch(statements.list_events, *_columns(places), limit):
        found[at - 1].append(Event(*event))
    return found


def _columns(places: Sequence[Place]) -> tuple[list[UUID], list[int | None]]:
    return [place.user_id for place in places], [place.after for place in places]
