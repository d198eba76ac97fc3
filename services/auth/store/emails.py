"""E-mails with tokens, and their queue."""

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
    """How many e-mails of a kind a user got within a day, and the age of the one whose token is valid."""

    day_count: int
    live_age_seconds: float | None


class Claimed(NamedTuple):
    """An e-mail that is leased to a sender."""

    id: UUID
    kind: str
    email: str
    name: str
    token_sealed: bytes
    created_at: datetime
    expires_at: datetime
    attempts: int


async def lock_enabled_user(connection: Connection, user_id: UUID) -> User | None:
    """Lock a user; None if unknown or disabled."""
    row = await connection.fetchrow(statements.lock_enabled_user, user_id)
    return None if row is None else user_of(row)


async def lock_enabled_user_by_email(connection: Connection, email: str) -> User | None:
    """Lock the user with this normalised address; None if unknown or disabled."""
    row = await connection.fetchrow(statements.lock_enabled_user_by_email, email)
    return None if row is None else user_of(row)


async def read_history(connection: Connection, user_id: UUID, kind: Kind) -> History:
    """Read the history of a kind of e-mail to a user, who must be locked."""
    row = await connection.fetchrow(statements.read_email_history, user_id, kind.value)
    assert row is not None, "an aggregate has one row"
    return History(*row)


async def insert_email(
    connection: Connection, email_id: UUID, user_id: UUID, *, kind: Kind, token_hash: bytes | None, token_sealed: bytes
) -> None:
    """Queue an e-mail. The row of the user must be locked or new.

    An e-mail with a token supersedes earlier ones of its kind. One without a token has no hash and supersedes nothing;
    `token_sealed` is then its detail.
    """
    if token_hash is not None:
        await connection.execute(statements.supersede_emails, user_id, kind.value)
    await connection.execute(
        statements.insert_email, email_id, user_id, kind.value, token_hash, token_sealed, LIFE_SECONDS[kind]
    )


async def withdraw_emails(connection: Connection, user_id: UUID, kind: Kind) -> None:
    """Invalidate the valid token of this kind, if there is one. The user must be locked."""
    await connection.execute(statements.withdraw_emails, user_id, kind.value)


async def find_token_owner(connection: Connection, token_hash: bytes, kind: Kind) -> UUID | None:
    """The user that a valid token belongs to."""
    user_id: UUID | None = await connection.fetchval(statements.find_token_owner, token_hash, kind.value)
    return user_id


async def spend_token(connection: Connection, token_hash: bytes, kind: Kind) -> bool:
    """Spend a token; False if it is no longer valid. The user must be locked."""
    return await connection.fetchval(statements.spend_token, token_hash, kind.value) is not None


async def mark_email_verified(connection: Connection, user_id: UUID) -> None:
    """Record that the address of a user is verified."""
    await connection.execute(statements.mark_email_verified, user_id)


async def claim_emails(connection: Connection, *, limit: int, lease_seconds: float) -> list[Claimed]:
    """Lease due e-mails: no other caller gets them before the lease ends. Expired ones are ended."""
    await connection.execute(statements.expire_emails, limit)
    return [Claimed(*row) for row in await connection.fetch(statements.claim_emails, limit, lease_seconds)]


async def mark_email_sent(connection: Connection, email_id: UUID) -> None:
    """Record that the mail server accepted an e-mail."""
    await connection.execute(statements.mark_email_sent, email_id)


async def delay_email(connection: Connection, email_id: UUID, *, seconds: float, error: str) -> None:
    """Record a failed attempt; the e-mail is due again in `seconds`."""
    await connection.execute(statements.delay_email, email_id, seconds, error)


async def abandon_email(connection: Connection, email_id: UUID, *, error: str) -> None:
    """Record that an e-mail cannot be sent."""
    await connection.execute(statements.abandon_email, email_id, error)


async def release_emails(connection: Connection, email_ids: Sequence[UUID]) -> None:
    """Return claimed e-mails unsent."""
    await connection.execute(statements.release_emails, email_ids)
