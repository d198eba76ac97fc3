"""One typed function per statement of the search; the caller's connection comes first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from services.chassis.database import Connection
from services.chassis.statements import Statements

statements = Statements(Path(__file__).parent / "sql" / "queries_search.sql")


class Range(NamedTuple):
    """A range of transfer ids, which are in the order of time: from `first` on (inclusive), before `end` (exclusive)."""

    first: UUID
    end: UUID


async def find_search_floor(connection: Connection, within: Range, count: int) -> tuple[UUID, datetime] | None:
    """Find the newest transfer of a range that has at least `count` newer ones: its id, and when it was accepted."""
    row = await connection.fetchrow(statements.find_search_floor, *within, count)
    return None if row is None else (row["id"], row["created_at"])


async def list_by_request(connection: Connection, within: Range, request_id: str, *, limit: int) -> list[UUID]:
    """The transfers of a range that this request made, newest first."""
    rows = await connection.fetch(statements.list_by_request, *within, request_id, limit)
    return [row["id"] for row in rows]


async def list_by_key(connection: Connection, within: Range, key: str, *, limit: int) -> list[UUID]:
    """The transfers with this idempotency key, of all users who sent a transfer in the range; newest first."""
    rows = await connection.fetch(statements.list_by_key, *within, key, limit)
    return [row["resource_id"] for row in rows]


async def list_pending_for(connection: Connection, seconds: float, limit: int) -> list[UUID]:
    """The transfers that have been PENDING for longer than `seconds`, by expiry."""
    return [row["id"] for row in await connection.fetch(statements.list_pending_for, seconds, limit)]


async def list_request_ids(connection: Connection, transfer_ids: Sequence[UUID]) -> dict[UUID, str]:
    """The ids of the requests that made these transfers."""
    return {row["id"]: row["request_id"] for row in await connection.fetch(statements.list_request_ids, transfer_ids)}
