"""One typed function per statement that reads feeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from services.chassis.database import Connection
from services.chassis.statements import Statements

statements = Statements(Path(__file__).parent / "sql" / "queries_events.sql")


class Cursor(NamedTuple):
    """A user's feed, and the number after which its lines are requested; None: only the number of its last line."""

    user_id: UUID
    after: int | None


class Event(NamedTuple):
    """A line of a feed; `payload` is JSON text on one line."""

    seq: int
    type: str
    payload: str


async def find_last_seqs(connection: Connection, cursors: Sequence[Cursor]) -> dict[int, int]:
    """The last number of each feed, by the index of its cursor; feeds without newer lines are omitted."""
    rows = await connection.fetch(statements.find_last_seqs, *_columns(cursors))
    return {row["at"] - 1: row["last_seq"] for row in rows}


async def list_events(connection: Connection, cursors: Sequence[Cursor], *, limit: int) -> list[list[Event]]:
    """The next lines after each cursor, in order, at most `limit` per feed."""
    found: list[list[Event]] = [[] for _ in cursors]
    for at, *event in await connection.fetch(statements.list_events, *_columns(cursors), limit):
        found[at - 1].append(Event(*event))
    return found


def _columns(cursors: Sequence[Cursor]) -> tuple[list[UUID], list[int | None]]:
    return [cursor.user_id for cursor in cursors], [cursor.after for cursor in cursors]
