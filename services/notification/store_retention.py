"""One typed function per statement that removes what has expired. Each removes a bounded number of rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from services.chassis.database import Connection
from services.chassis.statements import Statements
from services.contracts.identifiers import first_id_at

statements = Statements(Path(__file__).parent / "sql" / "queries_retention.sql")


class Cutoffs(NamedTuple):
    """The times before which notifications with their inbox rows, and lines without a notification, have expired."""

    notifications: datetime
    events: datetime


async def find_cutoffs(connection: Connection, *, notification_days: int, event_days: int) -> Cutoffs:
    """The times so many days ago, by the clock of the database."""
    row = await connection.fetchrow(statements.find_cutoffs, notification_days, event_days)
    assert row is not None, "the statement returns one row"
    return Cutoffs(*row)


async def list_expired_notifications(connection: Connection, cutoff: datetime, *, limit: int) -> list[UUID]:
    """The oldest notifications from before the cutoff, unless their e-mail waits."""
    floor = first_id_at(cutoff.timestamp())
    rows = await connection.fetch(statements.list_expired_notifications, floor, cutoff, limit)
    return [row["id"] for row in rows]


async def delete_notifications(connection: Connection, notification_ids: Sequence[UUID]) -> None:
    """Remove notifications and the records of their e-mails."""
    await connection.execute(statements.delete_deliveries, notification_ids)
    await connection.execute(statements.delete_notifications, notification_ids)


async def delete_inbox(connection: Connection, cutoff: datetime, *, limit: int) -> int:
    """Remove the oldest inbox rows from before the cutoff; how many."""
    floor = first_id_at(cutoff.timestamp())
    return _count(await connection.execute(statements.delete_inbox, floor, cutoff, limit))


async def delete_late(connection: Connection, cutoff: datetime, *, limit: int) -> int:
    """Remove the oldest notifications of late transfers from before the cutoff; how many."""
    return _count(await connection.execute(statements.delete_late, cutoff, limit))


async def delete_events(connection: Connection, cutoff: datetime, *, limit: int) -> int:
    """Remove the oldest lines without a notification from before the cutoff; how many."""
    return _count(await connection.execute(statements.delete_events, cutoff, limit))


def _count(status: str) -> int:
    """The number of rows in a command's status, such as `DELETE 3`."""
    return int(status.rpartition(" ")[2])
