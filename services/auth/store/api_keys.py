"""API keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from services.auth.rules.user import Role
from services.chassis.database import Connection
from services.chassis.statements import Statements

statements = Statements(Path(__file__).parents[1] / "sql" / "queries" / "api_keys.sql")


class NewApiKey(NamedTuple):
    """A key to insert; of the key itself only the hash is stored."""

    id: UUID
    user_id: UUID
    name: str
    scopes: Sequence[str]
    prefix: str
    hash: bytes
    expires_at: datetime | None
    session_id: UUID


class ListedApiKey(NamedTuple):
    """A key as its owner sees it."""

    id: UUID
    name: str
    scopes: Sequence[str]
    prefix: str
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None


class LockedApiKey(NamedTuple):
    """A live key that is locked until the transaction ends."""

    id: UUID
    user_id: UUID
    prefix: str


class UsedApiKey(NamedTuple):
    """The user of a live key; `seconds_left` is None for a key that does not expire."""

    id: UUID
    user_id: UUID
    role: Role
    scopes: Sequence[str]
    prefix: str
    seconds_left: float | None
    hour_seconds_left: float


async def lock_owner(connection: Connection, user_id: UUID, session_id: UUID) -> Role | None:
    """Lock a user and a session, and return the role; None if there is no such live session or the user is disabled."""
    role = await connection.fetchval(statements.lock_owner, user_id, session_id)
    return None if role is None else Role(role)


async def count_api_keys(connection: Connection, user_id: UUID) -> int:
    """Count the unrevoked keys of a user."""
    count: int = await connection.fetchval(statements.count_api_keys, user_id)
    return count


async def insert_api_key(connection: Connection, key: NewApiKey) -> ListedApiKey | None:
    """Insert a key; None if it would already have expired."""
    row = await connection.fetchrow(statements.insert_api_key, *key)
    return None if row is None else ListedApiKey(*row)


async def list_api_keys(connection: Connection, user_id: UUID) -> list[ListedApiKey]:
    """List the unrevoked keys of a user, newest first."""
    return [ListedApiKey(*row) for row in await connection.fetch(statements.list_api_keys, user_id)]


async def lock_live_api_key(connection: Connection, key_id: UUID, user_id: UUID) -> list[LockedApiKey]:
    """Lock this key of this user; empty if it is unknown, belongs to another user, or is revoked."""
    return [LockedApiKey(*row) for row in await connection.fetch(statements.lock_live_api_key, key_id, user_id)]


async def lock_live_api_keys_of_user(connection: Connection, user_id: UUID) -> list[LockedApiKey]:
    """Lock every unrevoked key of a user."""
    return [LockedApiKey(*row) for row in await connection.fetch(statements.lock_live_api_keys_of_user, user_id)]


async def lock_live_api_keys_of_session(
    connection: Connection, user_id: UUID, session_id: UUID, *, since: datetime
) -> list[LockedApiKey]:
    """Lock the unrevoked keys that were created in a session since this time. The session must be locked."""
    rows = await connection.fetch(statements.lock_live_api_keys_of_session, user_id, session_id, since)
    return [LockedApiKey(*row) for row in rows]


async def revoke_api_keys(connection: Connection, key_ids: Sequence[UUID], seqs: Sequence[int], *, reason: str) -> None:
    """Revoke locked keys, with these numbers of the revocations feed."""
    await connection.execute(statements.revoke_api_keys, key_ids, seqs, reason)


async def use_api_key(connection: Connection, key_hash: bytes) -> UsedApiKey | None:
    """Whom a key speaks for, noting that it was used now; None when it is unknown, revoked or expired. Locks the key."""
    row = await connection.fetchrow(statements.use_api_key, key_hash)
    if row is None:
        return None
    id_, user_id, role, scopes, prefix, seconds_left, hour_seconds_left = row
    return UsedApiKey(id_, user_id, Role(role), scopes, prefix, seconds_left, hour_seconds_left)


async def advance_audited_hour(connection: Connection, key_id: UUID) -> bool:
    """Whether this is the key's first use in its hour. The key must be locked."""
    return await connection.fetchval(statements.advance_audited_hour, key_id) is not None
