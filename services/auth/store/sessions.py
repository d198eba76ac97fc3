"""Sessions, their refresh tokens, and the feed of revocations."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from services.chassis.database import Connection
from services.chassis.statements import Statements

statements = Statements(Path(__file__).parents[1] / "sql" / "queries" / "sessions.sql")


class LockedSession(NamedTuple):
    """A session that is locked until the transaction ends."""

    user_id: UUID
    revoked: bool


class Revocation(NamedTuple):
    """A revoked session or API key, by its id; `seq` numbers all revocations without a gap."""

    seq: int
    session_id: UUID
    revoked_at: datetime


class LiveSession(NamedTuple):
    """A session as its user sees it; `user_agent` is that of the login."""

    id: UUID
    created_at: datetime
    used_at: datetime
    user_agent: str | None


class EndedSessions(NamedTuple):
    """Sessions that ended long ago, and the last id that was examined; None: there are no more."""

    last_id: UUID | None
    ids: list[UUID]


async def insert_session(connection: Connection, session_id: UUID, user_id: UUID, *, user_agent: str | None) -> None:
    """Insert a session."""
    await connection.execute(statements.insert_session, session_id, user_id, user_agent)


async def lock_session(connection: Connection, session_id: UUID) -> LockedSession | None:
    """Lock a session; None if it ended long ago and was removed."""
    row = await connection.fetchrow(statements.lock_session, session_id)
    return LockedSession(*row) if row is not None else None


async def lock_live_session(connection: Connection, session_id: UUID, user_id: UUID) -> list[UUID]:
    """Lock this session of this user; empty if it is unknown, belongs to another user, or has ended."""
    return [row["id"] for row in await connection.fetch(statements.lock_live_session, session_id, user_id)]


async def lock_live_sessions_of_user(connection: Connection, user_id: UUID) -> list[UUID]:
    """Lock every live session of a user."""
    return [row["id"] for row in await connection.fetch(statements.lock_live_sessions_of_user, user_id)]


async def touch_session(connection: Connection, session_id: UUID) -> None:
    """Record that a session was used now."""
    await connection.execute(statements.touch_session, session_id)


async def advance_revocations(connection: Connection, count: int) -> int:
    """Take `count` numbers of the revocations feed and return the last one. Locks the feed until the transaction ends."""
    last: int = await connection.fetchval(statements.advance_revocations, count)
    return last


async def revoke_sessions(
    connection: Connection, session_ids: Sequence[UUID], seqs: Sequence[int], *, reason: str
) -> None:
    """End locked sessions, with these numbers of the revocations feed."""
    await connection.execute(statements.revoke_sessions, session_ids, seqs, reason)


async def read_revocation_counter(connection: Connection) -> tuple[int, float]:
    """The number of the last revocation, 0 before the first; and the Unix time of the database."""
    row = await connection.fetchrow(statements.read_revocation_counter)
    assert row is not None, "it has one row"
    return row["last"], row["now"]


async def list_revocations(
    connection: Connection, *, after: int, age_seconds_max: float, limit: int
) -> list[Revocation]:
    """List revocations above a number and not older than `age_seconds_max`, in order."""
    rows = await connection.fetch(statements.list_revocations, after, age_seconds_max, limit)
    return [Revocation(*row) for row in rows]


async def insert_refresh_token(
    connection: Connection, token_hash: bytes, session_id: UUID, *, lifetime_seconds: float
) -> int:
    """Insert the live token of a session; return the Unix time of the database."""
    now: int = await connection.fetchval(statements.insert_refresh_token, token_hash, session_id, lifetime_seconds)
    return now


async def find_refresh_session(connection: Connection, token_hash: bytes) -> UUID | None:
    """The session a token belongs to."""
    session_id: UUID | None = await connection.fetchval(statements.find_refresh_session, token_hash)
    return session_id


async def spend_refresh_token(connection: Connection, token_hash: bytes) -> bool:
    """Spend a token; False if it was spent before or has expired. Its session must be locked."""
    return await connection.fetchval(statements.spend_refresh_token, token_hash) is not None


async def find_refresh_token_spent_at(connection: Connection, token_hash: bytes) -> datetime | None:
    """When a token was spent; None if it was not."""
    spent_at: datetime | None = await connection.fetchval(statements.find_refresh_token_spent_at, token_hash)
    return spent_at


async def prune_refresh_tokens(connection: Connection, session_id: UUID, *, count_max: int) -> None:
    """Delete spent tokens of a session that would have expired by now, or that are older than the last `count_max` tokens."""
    await connection.execute(statements.prune_refresh_tokens, session_id, count_max)


async def lock_ended_sessions(connection: Connection, *, after: UUID, days: int, limit: int) -> EndedSessions:
    """Examine at most `limit` sessions after an id, and lock those that ended so many days ago and created no API key."""
    row = await connection.fetchrow(statements.lock_ended_sessions, after, days, limit)
    assert row is not None, "the statement returns one row"
    return EndedSessions(row["last_id"], row["ids"])


async def delete_sessions(connection: Connection, session_ids: Sequence[UUID]) -> None:
    """Remove locked sessions and their tokens."""
    await connection.execute(statements.delete_tokens_of_sessions, session_ids)
    await connection.execute(statements.delete_sessions, session_ids)


async def lock_sessions_beyond(connection: Connection, user_id: UUID, count_max: int) -> list[UUID]:
    """Lock the least recently used live sessions of a user beyond `count_max`. The user must be locked."""
    return [row["id"] for row in await connection.fetch(statements.lock_sessions_beyond, user_id, count_max)]


async def list_live_sessions(connection: Connection, user_id: UUID, *, below: UUID, limit: int) -> list[LiveSession]:
    """List live sessions of a user, newest first, with ids below `below`."""
    rows = await connection.fetch(statements.list_live_sessions, user_id, below, limit)
    return [LiveSession(*row) for row in rows]
