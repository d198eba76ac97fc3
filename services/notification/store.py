"""One typed function per statement; the caller's connection comes first."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from services.chassis.database import Connection
from services.chassis.statements import Statements
from services.notification.feed import Notification, NumberedLine, NumberedNotification

statements = Statements(Path(__file__).parent / "sql" / "queries.sql")

PLANNER = {"enable_seqscan": "off", "jit": "off"}
"""For a new table the planner chooses a sequential scan; the index is better at every size."""


class InboxKey(NamedTuple):
    """The key of an event in the inbox, by which a copy is recognized: of PENDING, or of an outcome without notifications."""

    transfer_id: UUID
    type: str


class Position(NamedTuple):
    """The position of a row in a list from the newest to the oldest."""

    created_at: datetime
    id: UUID


NEWEST = Position(datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1))
"""Above every row."""


class Finalized(NamedTuple):
    """A position in the order in which the database of the transaction service finalized transfers."""

    at: datetime
    transfer_id: UUID


EXPIRED = "notifications.expired"
"""The route of the position up to which records may have been removed: an earlier event is a copy."""

BEGINNING = Finalized(datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))
"""Before every finalized transfer."""


class NotifiedUser(NamedTuple):
    """A notification of a transfer: the user, its kind and time."""

    at: datetime
    user_id: UUID
    kind: str


class Claimed(NamedTuple):
    """An e-mail to send; `attempts` counts those that failed by its own fault."""

    id: UUID
    user_id: UUID
    attempts: int
    title: str
    body: str


async def advance_counters(connection: Connection, counts: Mapping[UUID, int]) -> dict[UUID, int]:
    """Take `counts` numbers for each user, whose feed is locked until the commit; returns the last one.

    Sorted, so that two transactions cannot deadlock.
    """
    rows = await connection.fetch(statements.advance_counters, *_columns(sorted(counts.items())))
    return {row["user_id"]: row["last_seq"] for row in rows}


async def return_numbers(connection: Connection, counts: Mapping[UUID, int]) -> dict[UUID, int]:
    """Return numbers that this transaction took and does not use; returns the last one of each of these users."""
    rows = await connection.fetch(statements.return_numbers, *_columns(list(counts.items())))
    return {row["user_id"]: row["last_seq"] for row in rows}


async def list_recorded(connection: Connection, times: Mapping[UUID, datetime]) -> set[UUID]:
    """Those of the transfers whose outcome is recorded, or was and has expired; to be read after the feeds were locked.

    `times`: of each transfer, when it got its outcome; of a PENDING one, when it expires.
    """
    rows = await connection.fetch(statements.list_recorded, list(times), list(times.values()), EXPIRED)
    return {row["transfer_id"] for row in rows}


async def list_unrecorded(connection: Connection, transfer_ids: Sequence[UUID]) -> list[UUID]:
    """Those of the transfers whose outcome is not recorded."""
    return [row["id"] for row in await connection.fetch(statements.list_unrecorded, transfer_ids)]


async def insert_inbox(connection: Connection, keys: Collection[InboxKey]) -> set[UUID]:
    """Insert keys; returns the transfers of those that are new. Sorted, so that two transactions cannot deadlock."""
    rows = await connection.fetch(statements.insert_inbox, *_columns(sorted(keys)))
    return {row["transfer_id"] for row in rows}


async def find_position(connection: Connection, route: str) -> Finalized | None:
    """The position of a route; None if there is none yet."""
    row = await connection.fetchrow(statements.find_position, route)
    return Finalized(*row) if row else None


async def advance_position(connection: Connection, route: str, position: Finalized) -> None:
    """Move the position forwards; an earlier position changes nothing."""
    await connection.execute(statements.advance_position, route, *position)


async def insert_notifications(connection: Connection, notifications: Sequence[NumberedNotification]) -> None:
    """Record notifications; their time is the transaction's."""
    # A column without a value is one NULL: the driver needs as long for a NULL in an array as for a number.
    columns = [None if _is_empty(column) else column for column in _columns(notifications)]
    await connection.execute(statements.insert_notifications, *columns)


async def insert_lines(connection: Connection, lines: Sequence[NumberedLine]) -> None:
    """Add lines to their users' feeds."""
    await connection.execute(statements.insert_lines, *_columns(lines))


async def insert_deliveries(connection: Connection, deliveries: Sequence[tuple[str, str, UUID]]) -> None:
    """Queue an e-mail for each (delivery id, notification id, user id)."""
    await connection.execute(statements.insert_deliveries, *_columns(deliveries))


async def list_notifications(
    connection: Connection, user_id: UUID, *, below: Position, limit: int
) -> list[Notification]:
    """A page of a user's notifications, newest first."""
    position = (None, None) if below == NEWEST else below
    rows = await connection.fetch(statements.list_notifications, user_id, *position, limit)
    return [Notification(*row) for row in rows]


async def mark_read(connection: Connection, notification_id: UUID, user_id: UUID) -> Notification | None:
    """Mark a notification of this user as read; None when the user has no such notification."""
    row = await connection.fetchrow(statements.mark_read, notification_id, user_id)
    return Notification(*row) if row else None


async def list_notifications_of_transfer(connection: Connection, transfer_id: UUID) -> list[NotifiedUser]:
    """The notifications of a transfer: user, kind and time."""
    return [
        NotifiedUser(*row) for row in await connection.fetch(statements.list_notifications_of_transfer, transfer_id)
    ]


async def claim_deliveries(connection: Connection, *, limit: int, lease_seconds: float) -> list[Claimed]:
    """Claim e-mails that are due; no other process gets them before the lease ends."""
    rows = await connection.fetch(statements.claim_deliveries, limit, lease_seconds)
    return [Claimed(*row) for row in rows]


async def mark_delivery_sent(connection: Connection, delivery_id: UUID) -> None:
    """Record that the mail server accepted an e-mail."""
    await connection.execute(statements.mark_delivery_sent, delivery_id)


async def delay_delivery(connection: Connection, delivery_id: UUID, *, seconds: float, error: str) -> None:
    """Record a failed attempt; the next is due in so many seconds."""
    await connection.execute(statements.delay_delivery, delivery_id, seconds, error)


async def mark_delivery_failed(connection: Connection, delivery_id: UUID, *, error: str) -> None:
    """Record that an e-mail will not be sent."""
    await connection.execute(statements.mark_delivery_failed, delivery_id, error)


async def release_deliveries(connection: Connection, delivery_ids: Sequence[UUID]) -> None:
    """Return claimed e-mails that were not attempted."""
    await connection.execute(statements.release_deliveries, delivery_ids)


def _columns(rows: Sequence[tuple[object, ...]]) -> list[list[object]]:
    """Rows as one list per column; requires at least one row."""
    return [list(column) for column in zip(*rows, strict=True)]


def _is_empty(column: Sequence[object]) -> bool:
    return column[0] is None and column.count(None) == len(column)
