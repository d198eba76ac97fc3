"""One typed function per statement about notifications of late transfers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from services.chassis.database import Connection
from services.chassis.statements import Statements
from services.notification.feed import NumberedLate

statements = Statements(Path(__file__).parent / "sql" / "queries_late.sql")


async def list_late(connection: Connection, transfer_ids: Sequence[UUID]) -> set[UUID]:
    """Those of the transfers whose sender was notified; to be read after the feeds were locked."""
    return {row["transfer_id"] for row in await connection.fetch(statements.list_late, transfer_ids)}


async def insert_late(connection: Connection, rows: Sequence[NumberedLate]) -> None:
    """Record notifications of late transfers."""
    await connection.execute(statements.insert_late, *(list(column) for column in zip(*rows, strict=True)))
