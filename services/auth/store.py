"""One typed function per statement; the caller's connection comes first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from services.auth.keys import StoredKey
from services.auth.user import Role, User
from services.chassis.database import Connection, Record
from services.chassis.statements import Statements

statements = Statements(Path(__file__).parent / "sql" / "queries.sql")


class Credentials(NamedTuple):
    """What a login is verified against."""

    user_id: UUID
    password_hash: str
    password_changed_at: datetime


class Locked(NamedTuple):
    """A user who is locked until the transaction ends, and what decides whether they may come in.

    `totp_secret_sealed` is that of the second factor, confirmed or only proposed (`user.totp` tells which), `totp_step` the
    last step whose code was taken, `now` the database's Unix time.
    """

    user: User
    is_disabled: bool
    totp_secret_sealed: bytes | None
    totp_step: int | None
    now: int


class LockedSession(NamedTuple):
    """A session that is locked until the transaction ends."""

    user_id: UUID
    revoked: bool


class Revocation(NamedTuple):
    """A session, or an API key under its own id, that was ended; `seq` numbers all of them without a gap."""

    seq: int
    session_id: UUID
    revoked_at: datetime


class Act(StrEnum):
    """What the audit log tells of."""

    USER_REGISTERED = "user_registered"
    LOGIN_SUCCEEDED = "login_succeeded"
    LOGIN_FAILED = "login_failed"
    REFRESH_REUSED = "refresh_reused"
    LOGGED_OUT = "logged_out"
    ROLE_GRANTED = "role_granted"
    VERIFICATION_ASKED = "verification_asked"
    EMAIL_VERIFIED = "email_verified"
    PASSWORD_RESET_ASKED = "password_reset_asked"  # noqa: S105 - the name of an act
    PASSWORD_RESET = "password_reset"  # noqa: S105 - the name of an act
    PROOF_FAILED = "proof_failed"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - the name of an act
    SESSION_REVOKED = "session_revoked"
    SESSIONS_REVOKED = "sessions_revoked"
    TOTP_STARTED = "totp_started"
    TOTP_CONFIRMED = "totp_confirmed"
    TOTP_REMOVED = "totp_removed"
    RECOVERY_CODES_RENEWED = "recovery_codes_renewed"
    RECOVERY_CODE_USED = "recovery_code_used"
    USER_DISABLED = "user_disabled"
    USER_ENABLED = "user_enabled"
    KEY_ROTATED = "key_rotated"
    KEY_RETIRED = "key_retired"
    API_KEY_CREATED = "api_key_created"
    API_KEY_REVOKED = "api_key_revoked"
    API_KEY_USED = "api_key_used"


class Audit(NamedTuple):
    """One act: by whom (None: nobody known, or the command line), on whom, and what else is worth knowing."""

    act: Act
    actor_id: UUID | None
    user_id: UUID | None
    detail: Mapping[str, str] = {}


async def insert_user(connection: Connection, user: User, password_hash: str) -> bool:
    """Record a user; False when the address is taken."""
    inserted = await connection.fetchval(
        statements.insert_user, user.id, user.email, user.name, user.role.value, password_hash
    )
    return inserted is not None


async def find_credentials(connection: Connection, email: str) -> Credentials | None:
    """The credentials behind a normalised address."""
    row = await connection.fetchrow(statements.find_credentials, email)
    return None if row is None else Credentials(*row)


async def find_credentials_of(connection: Connection, user_id: UUID) -> Credentials | None:
    """The credentials of a user."""
    row = await connection.fetchrow(statements.find_credentials_of, user_id)
    return None if row is None else Credentials(*row)


async def lock_verified_user(connection: Connection, credentials: Credentials) -> Locked | None:
    """The user whose password was verified, locked; None when it has changed since."""
    return _locked(
        await connection.fetchrow(statements.lock_verified_user, credentials.user_id, credentials.password_changed_at)
    )


async def lock_user(connection: Connection, user_id: UUID) -> Locked | None:
    """A user, locked."""
    return _locked(await connection.fetchrow(statements.lock_user, user_id))


async def lock_user_by_email(connection: Connection, email: str) -> User | None:
    """The user behind a normalised address, locked."""
    row = await connection.fetchrow(statements.lock_user_by_email, email)
    return None if row is None else user_of(row)


async def update_password_hash(connection: Connection, user_id: UUID, password_hash: str) -> None:
    """Keep the same password under another hash."""
    await connection.execute(statements.update_password_hash, user_id, password_hash)


async def update_role(connection: Connection, user_id: UUID, role: Role) -> None:
    """Give a user a role."""
    await connection.execute(statements.update_role, user_id, role.value)


async def find_user(connection: Connection, user_id: UUID) -> User | None:
    """One user."""
    row = await connection.fetchrow(statements.find_user, user_id)
    return None if row is None else user_of(row)


async def find_recipients_by_email(connection: Connection, emails: Sequence[str]) -> list[User]:
    """Those users with these normalised addresses who are not disabled."""
    return [user_of(row) for row in await connection.fetch(statements.find_recipients_by_email, emails)]


async def find_users_by_id(connection: Connection, user_ids: Sequence[UUID]) -> list[User]:
    """Those of these ids that are users."""
    return [user_of(row) for row in await connection.fetch(statements.find_users_by_id, user_ids)]


async def insert_session(connection: Connection, session_id: UUID, user_id: UUID, user_agent: str | None) -> None:
    """Record a session."""
    await connection.execute(statements.insert_session, session_id, user_id, user_agent)


async def lock_session(connection: Connection, session_id: UUID) -> LockedSession:
    """Lock a session that exists."""
    row = await connection.fetchrow(statements.lock_session, session_id)
    assert row is not None, "sessions are never deleted"
    return LockedSession(*row)


async def lock_live_session(connection: Connection, session_id: UUID, user_id: UUID) -> list[UUID]:
    """Lock this session of this user; empty when it is another's, unknown, or ended already."""
    return [row["id"] for row in await connection.fetch(statements.lock_live_session, session_id, user_id)]


async def lock_live_sessions_of_user(connection: Connection, user_id: UUID) -> list[UUID]:
    """Lock every session of a user that has not ended."""
    return [row["id"] for row in await connection.fetch(statements.lock_live_sessions_of_user, user_id)]


async def touch_session(connection: Connection, session_id: UUID) -> None:
    """Note that a session was used now."""
    await connection.execute(statements.touch_session, session_id)


async def advance_revocations(connection: Connection, count: int) -> int:
    """Take `count` numbers of the revocations feed; the last of them. Locks the feed until the transaction ends."""
    last: int = await connection.fetchval(statements.advance_revocations, count)
    return last


async def revoke_sessions(
    connection: Connection, session_ids: Sequence[UUID], seqs: Sequence[int], *, reason: str
) -> None:
    """End sessions that are locked, under these numbers."""
    await connection.execute(statements.revoke_sessions, session_ids, seqs, reason)


async def read_revocation_counter(connection: Connection) -> tuple[int, float]:
    """The number of the last revocation, 0 before the first; and the Unix time by the database's clock."""
    row = await connection.fetchrow(statements.read_revocation_counter)
    assert row is not None, "it has one row"
    return row["last"], row["now"]


async def list_revocations(
    connection: Connection, *, after: int, age_seconds_max: float, limit: int
) -> list[Revocation]:
    """Revocations above a number and not older than this, in their order."""
    rows = await connection.fetch(statements.list_revocations, after, age_seconds_max, limit)
    return [Revocation(*row) for row in rows]


async def insert_refresh_token(
    connection: Connection, token_hash: bytes, session_id: UUID, *, lifetime_seconds: float
) -> int:
    """Record the live token of a session; the Unix time by the database's clock."""
    now: int = await connection.fetchval(statements.insert_refresh_token, token_hash, session_id, lifetime_seconds)
    return now


async def find_refresh_session(connection: Connection, token_hash: bytes) -> UUID | None:
    """The session a token belongs to."""
    session_id: UUID | None = await connection.fetchval(statements.find_refresh_session, token_hash)
    return session_id


async def spend_refresh_token(connection: Connection, token_hash: bytes) -> bool:
    """Use a token up; False when it was used before or is too old. Its session must be locked."""
    return await connection.fetchval(statements.spend_refresh_token, token_hash) is not None


async def find_refresh_token_spent_at(connection: Connection, token_hash: bytes) -> datetime | None:
    """When a token was used; None when it was not."""
    spent_at: datetime | None = await connection.fetchval(statements.find_refresh_token_spent_at, token_hash)
    return spent_at


async def prune_refresh_tokens(connection: Connection, session_id: UUID, *, count_max: int) -> None:
    """Forget the session's tokens that were used and would have expired by now, or are older than the last so many."""
    await connection.execute(statements.prune_refresh_tokens, session_id, count_max)


async def lock_signing_keys(connection: Connection) -> None:
    """Be the only one who makes a signing key, until the transaction ends."""
    await connection.execute(statements.lock_signing_keys)


async def find_signing_key(connection: Connection) -> StoredKey | None:
    """The key that signs now."""
    row = await connection.fetchrow(statements.find_signing_key)
    return None if row is None else StoredKey(*row)


async def insert_signing_key(connection: Connection, key: StoredKey) -> None:
    """Record a key that signs from now on."""
    await connection.execute(statements.insert_signing_key, key.kid, key.public_key, key.private_key_sealed)


async def insert_audit(connection: Connection, audit_id: UUID, audit: Audit, request_id: str) -> None:
    """Record an act, in the commit of the act."""
    await connection.execute(
        statements.insert_audit,
        audit_id,
        audit.act.value,
        audit.actor_id,
        audit.user_id,
        json.dumps(dict(audit.detail)),
        request_id,
    )


def user_of(row: Record) -> User:
    """A user as every statement about users tells them."""
    return User(
        id=row["id"],
        email=row["email"],
        name=row["name"],
        role=Role(row["role"]),
        email_verified=row["email_verified"],
        totp=row["totp"],
    )


def _locked(row: Record | None) -> Locked | None:
    if row is None:
        return None
    return Locked(user_of(row), row["is_disabled"], row["totp_secret_sealed"], row["totp_step"], row["now"])
