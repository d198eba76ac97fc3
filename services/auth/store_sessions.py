"""Statements of the list of sessions."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from services.chassis.database import Connection
from services.chassis.statements import Statements

statements = Statements(Path(__file__).parent / "sql" / "queries_sessions.sql")


class LiveSession(NamedTuple):
    """A session as its owner sees it; `user_agent` is what the client called itself at the login."""

    id: UUID
    created_at: datetime
    used_at: datetime
    user_agent: str | None


async def lock_sessions_beyond(connection: Connection, user_id: UUID, count_max: int) -> list[UUID]:
    """Lock a user's live sessions beyond so many, those used longest ago. The user is locked."""
    return [row["id"] for row in await connection.fetch(statements.lock_sessions_beyond, user_id, count_max)]


async def list_live_sessions(connection: Connection, user_id: UUID, *, below: UUID, limit: int) -> list[LiveSession]:
    """Sessions of a user that go on, newest first, with ids below this one."""
    rows = await connection.fetch(statements.list_live_sessions, user_id, below, limit)
    return [LiveSession(*row) for row in rows]
