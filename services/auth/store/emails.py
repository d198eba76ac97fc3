"""Statements about letters, one typed function each; the caller's connection comes first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from services.auth.rules.emails import LIFE_SECONDS, Kind
from services.auth.rules.user import User
from services.auth.store.users import user_of
from services.chassis.database import Connection
from services.chassis.statements import Statements

statements = Statements(Path(__file__).parents[1] / "sql" / "queries" / "emails.sql")


class History(NamedTuple):
    """What was written to somebody within a day, and the age of the letter whose token still holds."""

    day_count: int
    live_age_seconds: float | None


class Claimed(NamedTuple):
    """A letter that is being sent."""

    id: UUID
    kind: str
    email: str
    name: str
    token_sealed: bytes
    created_at: datetime
    expires_at: datetime
    attempts: int


async def lock_reader(connection: Connection, user_id: UUID) -> User | None:
    """One user, locked; None for one who is disabled."""
    row = await connection.fetchrow(statements.lock_reader, user_id)
    return None if row is None else user_of(row)


async def lock_reader_by_email(connection: Connection, email: str) -> User | None:
    """The user behind a normalised address, locked; None for one who is disabled."""
    row = await connection.fetchrow(statements.lock_reader_by_email, email)
    return None if row is None else user_of(row)


async def read_history(connection: Connection, user_id: UUID, kind: Kind) -> History:
    """How often letters of this kind were written to a user who is locked."""
    row = await connection.fetchrow(statements.read_letter_history, user_id, kind.value)
    assert row is not None, "an aggregate has one row"
    return History(*row)


async def insert_letter(
    connection: Connection, letter_id: UUID, user_id: UUID, kind: Kind, *, token_hash: bytes | None, token_sealed: bytes
) -> None:
    """Record a letter that waits to be sent. Its user must be locked or new.

    One with a token ends those of its kind before it. One without has no hash; it tells what is sealed, and ends nothing.
    """
    if token_hash is not None:
        await connection.execute(statements.overtake_letters, user_id, kind.value)
    await connection.execute(
        statements.insert_letter, letter_id, user_id, kind.value, token_hash, token_sealed, LIFE_SECONDS[kind]
    )


async def withdraw_letters(connection: Connection, user_id: UUID, kind: Kind) -> None:
    """End the token of this kind that still holds, if there is one. Its user must be locked."""
    await connection.execute(statements.withdraw_letters, user_id, kind.value)


async def find_letter_owner(connection: Connection, token_hash: bytes, kind: Kind) -> UUID | None:
    """Whose token this is, if it holds."""
    user_id: UUID | None = await connection.fetchval(statements.find_letter_owner, token_hash, kind.value)
    return user_id


async def spend_letter(connection: Connection, token_hash: bytes, kind: Kind) -> bool:
    """Use a token up; False when it does not hold any more. Its user must be locked."""
    return await connection.fetchval(statements.spend_letter, token_hash, kind.value) is not None


async def mark_email_verified(connection: Connection, user_id: UUID) -> None:
    """Somebody has shown that they read what is sent to their address."""
    await connection.execute(statements.mark_email_verified, user_id)


async def replace_password(connection: Connection, user_id: UUID, password_hash: str) -> None:
    """Another password from now on."""
    await connection.execute(statements.replace_password, user_id, password_hash)


async def claim_letters(connection: Connection, *, limit: int, lease_seconds: float) -> list[Claimed]:
    """Take letters that are due; nobody else gets them before the lease ends. Those too late to be sent are ended."""
    await connection.execute(statements.expire_letters, limit)
    return [Claimed(*row) for row in await connection.fetch(statements.claim_letters, limit, lease_seconds)]


async def mark_letter_sent(connection: Connection, letter_id: UUID) -> None:
    """The mail server took it."""
    await connection.execute(statements.mark_letter_sent, letter_id)


async def delay_letter(connection: Connection, letter_id: UUID, *, seconds: float, error: str) -> None:
    """Try again after so many seconds."""
    await connection.execute(statements.delay_letter, letter_id, seconds, error)


async def give_letter_up(connection: Connection, letter_id: UUID, *, error: str) -> None:
    """Never try again."""
    await connection.execute(statements.give_letter_up, letter_id, error)


async def release_letters(connection: Connection, letter_ids: Sequence[UUID]) -> None:
    """Give claimed letters back untried."""
    await connection.execute(statements.release_letters, letter_ids)
