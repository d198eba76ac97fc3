"""Credentials, and users locked for a login."""

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
    """The credentials that a login is verified against."""

    user_id: UUID
    password_hash: str
    password_changed_at: datetime


class Locked(NamedTuple):
    """A user who is locked until the transaction ends, with what decides whether they can log in.

    `totp_secret_sealed` belongs to a second factor that is enabled (`user.totp`) or only started, `totp_step` is the time step
    of the last accepted code, and `now` is the Unix time of the database.
    """

    user: User
    is_disabled: bool
    totp_secret_sealed: bytes | None
    totp_step: int | None
    now: int


async def insert_user(connection: Connection, user: User, password_hash: str) -> bool:
    """Insert a user; False if the address is taken."""
    inserted = await connection.fetchval(
        statements.insert_user, user.id, user.email, user.name, user.role.value, password_hash
    )
    return inserted is not None


async def find_credentials(connection: Connection, email: str) -> Credentials | None:
    """The credentials of the user with this normalised address."""
    row = await connection.fetchrow(statements.find_credentials, email)
    return None if row is None else Credentials(*row)


async def find_credentials_of(connection: Connection, user_id: UUID) -> Credentials | None:
    """The credentials of a user."""
    row = await connection.fetchrow(statements.find_credentials_of, user_id)
    return None if row is None else Credentials(*row)


async def lock_verified_user(connection: Connection, credentials: Credentials) -> Locked | None:
    """Lock the user whose password was verified; None if the password has changed since."""
    return _locked(
        await connection.fetchrow(statements.lock_verified_user, credentials.user_id, credentials.password_changed_at)
    )


async def lock_user(connection: Connection, user_id: UUID) -> Locked | None:
    """Lock a user."""
    return _locked(await connection.fetchrow(statements.lock_user, user_id))


async def lock_user_by_email(connection: Connection, email: str) -> User | None:
    """Lock the user with this normalised address."""
    row = await connection.fetchrow(statements.lock_user_by_email, email)
    return None if row is None else user_of(row)


async def update_password_hash(connection: Connection, user_id: UUID, password_hash: str) -> None:
    """Store another hash of the same password."""
    await connection.execute(statements.update_password_hash, user_id, password_hash)


def _locked(row: Record | None) -> Locked | None:
    if row is None:
        return None
    return Locked(user_of(row), row["is_disabled"], row["totp_secret_sealed"], row["totp_step"], row["now"])
