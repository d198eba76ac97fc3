"""Users, as other users and operators see them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from services.auth.rules.user import Role, User
from services.chassis.database import Connection, Record
from services.chassis.statements import Statements

statements = Statements(Path(__file__).parents[1] / "sql" / "queries" / "users.sql")


class Account(NamedTuple):
    """A user as operators see them; `disabled_at` and `disabled_reason` are both set or both None."""

    user: User
    created_at: datetime
    disabled_at: datetime | None
    disabled_reason: str | None


async def update_role(connection: Connection, user_id: UUID, role: Role) -> None:
    """Set the role of a user."""
    await connection.execute(statements.update_role, user_id, role.value)


async def find_user(connection: Connection, user_id: UUID) -> User | None:
    """Get a user."""
    row = await connection.fetchrow(statements.find_user, user_id)
    return None if row is None else user_of(row)


async def find_recipients_by_email(connection: Connection, emails: Sequence[str]) -> list[User]:
    """Find enabled users by their normalised addresses."""
    return [user_of(row) for row in await connection.fetch(statements.find_recipients_by_email, emails)]


async def find_users_by_id(connection: Connection, user_ids: Sequence[UUID]) -> list[User]:
    """Find users by id; unknown ids are left out."""
    return [user_of(row) for row in await connection.fetch(statements.find_users_by_id, user_ids)]


def user_of(row: Record) -> User:
    """A user from a row of any statement about users."""
    return User(
        id=row["id"],
        email=row["email"],
        name=row["name"],
        role=Role(row["role"]),
        email_verified=row["email_verified"],
        totp=row["totp"],
    )


async def find_account_by_email(connection: Connection, email: str) -> Account | None:
    """Find the account with this normalised address."""
    row = await connection.fetchrow(statements.find_account_by_email, email)
    return None if row is None else _account(row)


async def get_account(connection: Connection, user_id: UUID) -> Account:
    """Get an account that exists."""
    row = await connection.fetchrow(statements.get_account, user_id)
    assert row is not None, "users are never deleted"
    return _account(row)


async def disable_user(connection: Connection, user_id: UUID, reason: str) -> None:
    """Disable a user, who must be locked."""
    await connection.execute(statements.disable_user, user_id, reason)


async def enable_user(connection: Connection, user_id: UUID) -> None:
    """Enable a user, who must be locked."""
    await connection.execute(statements.enable_user, user_id)


async def lock_operators(connection: Connection) -> None:
    """Serialize changes that could remove the last operator."""
    await connection.execute(statements.lock_operators)


async def is_any_operator_left(connection: Connection) -> bool:
    """Whether there is an enabled operator."""
    return bool(await connection.fetchval(statements.is_any_operator_left))


async def is_former_operator(connection: Connection, user_id: UUID) -> bool:
    """Whether this user is no longer an operator, or is disabled."""
    return bool(await connection.fetchval(statements.is_former_operator, user_id))


async def update_password(connection: Connection, user_id: UUID, password_hash: str) -> None:
    """Set a new password of a user, who must be locked."""
    await connection.execute(statements.update_password, user_id, password_hash)


def _account(row: Record) -> Account:
    return Account(user_of(row), row["created_at"], row["disabled_at"], row["disabled_reason"])
