"""Statements of credentials and locked users, one typed function each; the caller's connection comes first."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from services.auth.rules.user import User
from services.auth.store.users import user_of
from services.chassis.database import Connection, Record
from services.chassis.statements import Statements

statements = Statements(Path(__file__).parents[1] / "sql" / "queries" / "accounts.sql")


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


def _locked(row: Record | None) -> Locked | None:
    if row is None:
        return None
    return Locked(user_of(row), row["is_disabled"], row["totp_secret_sealed"], row["totp_step"], row["now"])
