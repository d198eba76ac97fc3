"""What the auth service can be told about letters: one database transaction per function, and nowhere else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import structlog

from services.auth import actions, metrics, rules, store
from services.auth.actions.audit import Action, Audit
from services.auth.actions.sessions import Reason
from services.auth.errors import EmailTokenInvalid, EmailVerified, UserNotFound
from services.auth.keyring import Vault, WrongSecret
from services.auth.passwords import Hashing
from services.auth.rules.emails import Kind
from services.auth.store.emails import Claimed
from services.auth.wakeup import Wakeup
from services.chassis import database, replication
from services.chassis.database import Connection, Pool

FORGOT_SECONDS = 0.1
"""How long asking for a reset takes at the least: far more than its commit, so that the answer's time tells nothing."""

log = structlog.get_logger()


class Letter(NamedTuple):
    """A letter with its token in the open: for the one who sends it, to be kept nowhere.

    One without a token only tells of something, with what is in `detail`.
    """

    id: UUID
    kind: str
    email: str
    name: str
    token: str | None
    detail: str | None
    written_at: datetime
    expires_at: datetime
    attempts: int


async def ask_verification(pool: Pool, vault: Vault, *, user_id: UUID) -> None:
    """Write another letter to an address that is not verified, unless the one before is very young.

    Raises:
        UserNotFound
        EmailVerified: there is nothing to verify.
    """
    async with database.transaction(pool) as connection:
        user = await store.emails.lock_reader(connection, user_id)
        if user is None:
            raise UserNotFound
        if user.email_verified:
            raise replication.OnceReplicated(EmailVerified())
        written = await actions.outgoing.write_letter_if_due(connection, vault, user, Kind.VERIFY_EMAIL)
        await actions.audit.record(connection, Audit(Action.VERIFICATION_ASKED, user_id, user_id, _written(written)))
    _count_asked(Kind.VERIFY_EMAIL, written=written)
    log.info("verification_asked", user_id=str(user_id), written=written)


async def verify_email(pool: Pool, *, token: str) -> None:
    """Believe that whoever was written at an address reads it.

    Raises:
        EmailTokenInvalid
    """
    token_hash = rules.emails.hash_token(token)
    async with database.transaction(pool) as connection:
        user_id = await store.emails.find_letter_owner(connection, token_hash, Kind.VERIFY_EMAIL)
        if user_id is None:
            raise replication.OnceReplicated(EmailTokenInvalid())
        await _spend(connection, user_id, token_hash, Kind.VERIFY_EMAIL)
        await store.emails.mark_email_verified(connection, user_id)
        await actions.audit.record(connection, Audit(Action.EMAIL_VERIFIED, user_id, user_id))
    log.info("email_verified", user_id=str(user_id))


async def ask_password_reset(pool: Pool, vault: Vault, *, email: str) -> None:
    """Write to the owner of an address, if there is one and no letter of theirs is too young.

    Known or not, the caller learns nothing: neither from the answer nor from its time.
    """
    started = time.monotonic()
    async with database.transaction(pool) as connection:
        user = await store.emails.lock_reader_by_email(connection, email)
        written = False
        if user is not None:
            written = await actions.outgoing.write_letter_if_due(connection, vault, user, Kind.RESET_PASSWORD)
        user_id = user.id if user is not None else None
        await actions.audit.record(connection, Audit(Action.PASSWORD_RESET_ASKED, None, user_id, _written(written)))
    _count_asked(Kind.RESET_PASSWORD, written=written)
    log.info("password_reset_asked", user_id=str(user_id) if user_id else None, written=written)
    await asyncio.sleep(started + FORGOT_SECONDS - time.monotonic())


async def reset_password(
    pool: Pool, vault: Vault, hashing: Hashing, wakeup: Wakeup, *, token: str, new_password: str
) -> list[UUID]:
    """Set another password and end every session and API key of its owner, who is told by a letter; what ended, by id.

    A second factor stays what it is.

    Raises:
        EmailTokenInvalid
        TooManyLogins: the token still holds.
    """
    token_hash = rules.emails.hash_token(token)
    # A wrong token must not cost a hash: it is looked at first, and again in the commit that spends it.
    user_id = await _find_owner(pool, token_hash, Kind.RESET_PASSWORD)
    password_hash = await hashing.hash(new_password)
    async with database.transaction(pool) as connection:
        await _spend(connection, user_id, token_hash, Kind.RESET_PASSWORD)
        await store.emails.replace_password(connection, user_id, password_hash)
        await actions.outgoing.tell(connection, vault, user_id, Kind.PASSWORD_CHANGED)
        await actions.audit.record(connection, Audit(Action.PASSWORD_RESET, user_id, user_id))
        ended = await actions.access.lock(connection, user_id)
        await actions.access.revoke(connection, ended, Reason.PASSWORD_RESET, actor_id=user_id)
    log.info("password_reset", user_id=str(user_id), sessions_ended=len(ended.session_ids))
    await actions.access.tell_ended(wakeup, user_id, ended, Reason.PASSWORD_RESET)
    return [*ended.session_ids, *(key.id for key in ended.api_keys)]


async def claim_letters(pool: Pool, vault: Vault, *, limit: int, lease_seconds: float) -> list[Letter]:
    """Take letters that are due, in a commit of its own: nobody else gets them before the lease ends."""
    async with database.transaction(pool) as connection:
        claimed = await store.emails.claim_letters(connection, limit=limit, lease_seconds=lease_seconds)
    return [opened for letter in claimed if (opened := _open(vault, letter)) is not None]


async def mark_letter_sent(pool: Pool, letter_id: UUID) -> None:
    """Record that the mail server took a letter; its token is known only to its reader from now on."""
    async with database.transaction(pool) as connection:
        await store.emails.mark_letter_sent(connection, letter_id)


async def delay_letter(pool: Pool, letter_id: UUID, *, seconds: float, error: str) -> None:
    """Record that a letter failed on its own account and is tried again in so many seconds."""
    async with database.transaction(pool) as connection:
        await store.emails.delay_letter(connection, letter_id, seconds=seconds, error=error)


async def give_letter_up(pool: Pool, letter_id: UUID, *, error: str) -> None:
    """Record that a letter cannot be sent."""
    async with database.transaction(pool) as connection:
        await store.emails.give_letter_up(connection, letter_id, error=error)


async def release_letters(pool: Pool, letter_ids: Sequence[UUID]) -> None:
    """Give claimed letters back untried."""
    async with database.transaction(pool) as connection:
        await store.emails.release_letters(connection, letter_ids)


async def _find_owner(pool: Pool, token_hash: bytes, kind: Kind) -> UUID:
    async with database.transaction(pool) as connection:
        user_id = await store.emails.find_letter_owner(connection, token_hash, kind)
        if user_id is None:
            raise replication.OnceReplicated(EmailTokenInvalid())
    return user_id


async def _spend(connection: Connection, user_id: UUID, token_hash: bytes, kind: Kind) -> None:
    reader = await store.emails.lock_reader(connection, user_id)
    if reader is None or not await store.emails.spend_letter(connection, token_hash, kind):
        raise replication.OnceReplicated(EmailTokenInvalid())


def _open(vault: Vault, letter: Claimed) -> Letter | None:
    try:
        opened = vault.open_token(letter.token_sealed, letter_id=letter.id)
    except WrongSecret:
        # It will not open later either; it ends by itself when its token is too old. The others must not wait for it.
        log.error("letter_not_opened", letter_id=str(letter.id))  # noqa: TRY400 - no trace helps
        return None
    token, detail = (None, opened) if letter.kind in rules.emails.WITHOUT_TOKEN else (opened, None)
    return Letter(
        letter.id,
        letter.kind,
        letter.email,
        letter.name,
        token,
        detail,
        letter.created_at,
        letter.expires_at,
        letter.attempts,
    )


def _written(written: bool) -> dict[str, str]:
    return {"letter": "written" if written else "none"}


def _count_asked(kind: Kind, *, written: bool) -> None:
    metrics.LETTERS.labels(kind.value, "written" if written else "none").inc()
