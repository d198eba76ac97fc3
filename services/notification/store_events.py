"""One typed function per statement that reads feeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from services.chassis.database import Connection, Record
from services.chassis.statements import Statements
from services.notification import feed
from services.notification.feed import Event, Notification, Outcome, Transfer

statements = Statements(Path(__file__).parent / "sql" / "queries_events.sql")


class Cursor(NamedTuple):
    """A user's feed, and the number after which its lines are requested; None: only the number of its last line."""

    user_id: UUID
    after: int | None


async def find_last_seqs(connection: Connection, cursors: Sequence[Cursor]) -> dict[int, int]:
    """The last number of each feed, by the index of its cursor; feeds without newer lines are omitted."""
    rows = await connection.fetch(statements.find_last_seqs, *_columns(cursors))
    return {row["at"] - 1: row["last_seq"] for row in rows}


async def list_lines(connection: Connection, cursors: Sequence[Cursor], *, limit: int) -> list[list[Event]]:
    """The next lines after each cursor, in order, of at most `limit` rows of each table per feed."""
    found: list[list[Event]] = [[] for _ in cursors]
    for row in await connection.fetch(statements.list_lines, *_columns(cursors), limit):
        found[row["at"] - 1].extend(_events(row))
    return found


def _events(row: Record) -> list[Event]:
    if row["type"] is not None:
        return [Event(row["seq"], row["type"], row["payload"])]
    notification = Notification(
        row["id"], row["kind"], row["transfer_id"], row["title"], row["body"], row["created_at"], None
    )
    transfer = Transfer(
        row["transfer_id"],
        row["transfer_kind"],
        row["amount"],
        row["currency"],
        row["from_wallet_id"],
        row["to_wallet_id"],
        row["description"],
    )
    return feed.events(row["seq"], notification, Outcome(transfer, row["failure_code"], row["occurred_at"]))


def _columns(cursors: Sequence[Cursor]) -> tuple[list[UUID], list[int | None]]:
    return [cursor.user_id for cursor in cursors], [cursor.after for cursor in cursors]
