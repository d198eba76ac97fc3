"""One typed function per statement about API keys; the caller's connection comes first."""

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
    """A key to record: never itself, only its hash."""

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
    """Whom a live key speaks for; `seconds_left` is None for one that does not expire."""

    id: UUID
    user_id: UUID
    role: Role
    scopes: Sequence[str]
    prefix: str
    seconds_left: float | None
    hour_seconds_left: float


async def lock_owner(connection: Connection, user_id: UUID, session_id: UUID) -> Role | None:
    """The role of a user in a session, both locked; None when there is no such session, it has ended, or they are disabled."""
    role = await connection.fetchval(statements.lock_owner, user_id, session_id)
    return None if role is None else Role(role)


async def count_api_keys(connection: Connection, user_id: UUID) -> int:
    """How many keys of a user have not been revoked."""
    count: int = await connection.fetchval(statements.count_api_keys, user_id)
    return count


async def insert_api_key(connection: Connection, key: NewApiKey) -> ListedApiKey | None:
    """Record a key; None when it has expired already."""
    row = await connection.fetchrow(statements.insert_api_key, *key)
    return None if row is None else ListedApiKey(*row)


async def list_api_keys(connection: Connection, user_id: UUID) -> list[ListedApiKey]:
    """A user's keys that were not revoked, newest first."""
    return [ListedApiKey(*row) for row in await connection.fetch(statements.list_api_keys, user_id)]


async def lock_live_api_key(connection: Connection, key_id: UUID, user_id: UUID) -> list[LockedApiKey]:
    """Lock this key of this user; empty when it is another's, unknown, or ended already."""
    return [LockedApiKey(*row) for row in await connection.fetch(statements.lock_live_api_key, key_id, user_id)]


async def lock_live_api_keys_of_user(connection: Connection, user_id: UUID) -> list[LockedApiKey]:
    """Lock every key of a user that has not ended."""
    return [LockedApiKey(*row) for row in await connection.fetch(statements.lock_live_api_keys_of_user, user_id)]


async def lock_live_api_keys_of_session(
    connection: Connection, user_id: UUID, session_id: UUID, *, since: datetime
) -> list[LockedApiKey]:
    """Lock the unrevoked keys that a user made in a session, which is locked, since this moment."""
    rows = await connection.fetch(statements.lock_live_api_keys_of_session, user_id, session_id, since)
    return [LockedApiKey(*row) for row in rows]


async def revoke_api_keys(connection: Connection, key_ids: Sequence[UUID], seqs: Sequence[int], *, reason: str) -> None:
    """End keys that are locked, under these numbers of the revocations feed."""
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
