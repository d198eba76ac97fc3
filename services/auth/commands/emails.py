"""E-mails with single-use tokens: request, use, and hand over to the sender."""

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
from services.auth.keyring import Keyring, WrongSecret
from services.auth.passwords import Hashing
from services.auth.rules.emails import Kind
from services.auth.store.emails import Claimed
from services.auth.wakeup import Wakeup
from services.chassis import database, replication
from services.chassis.database import Connection, Pool
from services.contracts.refusals.auth import EmailTokenInvalid, EmailVerified, UserNotFound

LEASE_SECONDS = 60.0
"""Lease of a claimed e-mail."""

FORGOT_SECONDS = 0.1
"""Minimum duration of a reset request: far longer than its commit, so that the response time reveals nothing."""

log = structlog.get_logger()


class OutgoingEmail(NamedTuple):
    """An e-mail with its token in plain text, for the sender, which must not store it.

    A security notification has no token; `detail` completes its text.
    """

    id: UUID
    kind: str
    email: str
    name: str
    token: str | None
    detail: str | None
    created_at: datetime
    expires_at: datetime
    attempts: int


async def request_verification(pool: Pool, keyring: Keyring, *, user_id: UUID) -> None:
    """Queue another verification e-mail to an unverified address, unless the last one is too recent.

    Raises:
        UserNotFound
        EmailVerified
    """
    async with database.transaction(pool) as connection:
        user = await store.emails.lock_enabled_user(connection, user_id)
        if user is None:
            raise UserNotFound
        if user.email_verified:
            raise replication.OnceReplicated(EmailVerified())
        queued = await actions.outgoing.queue_email_if_due(connection, keyring, user, kind=Kind.VERIFY_EMAIL)
        await actions.audit.record(
            connection, Audit(Action.VERIFICATION_REQUESTED, user_id, user_id, _detail(queued=queued))
        )
    _count(Kind.VERIFY_EMAIL, queued=queued)
    log.info("verification_requested", user_id=str(user_id), queued=queued)


async def verify_email(pool: Pool, *, token: str) -> None:
    """Confirm an e-mail address.

    Raises:
        EmailTokenInvalid
    """
    token_hash = rules.emails.hash_token(token)
    async with database.transaction(pool) as connection:
        user_id = await store.emails.find_token_owner(connection, token_hash, Kind.VERIFY_EMAIL)
        if user_id is None:
            raise replication.OnceReplicated(EmailTokenInvalid())
        await _spend(connection, user_id, token_hash, kind=Kind.VERIFY_EMAIL)
        await store.emails.mark_email_verified(connection, user_id)
        await actions.audit.record(connection, Audit(Action.EMAIL_VERIFIED, user_id, user_id))
    log.info("email_verified", user_id=str(user_id))


async def request_password_reset(pool: Pool, keyring: Keyring, *, email: str) -> None:
    """Queue a reset e-mail if the address is registered, unless the last one is too recent.

    Neither the response nor its time reveals whether the address is registered.
    """
    started = time.monotonic()
    async with database.transaction(pool) as connection:
        user = await store.emails.lock_enabled_user_by_email(connection, email)
        queued = False
        if user is not None:
            queued = await actions.outgoing.queue_email_if_due(connection, keyring, user, kind=Kind.RESET_PASSWORD)
        user_id = user.id if user is not None else None
        await actions.audit.record(
            connection, Audit(Action.PASSWORD_RESET_REQUESTED, None, user_id, _detail(queued=queued))
        )
    _count(Kind.RESET_PASSWORD, queued=queued)
    log.info("password_reset_requested", user_id=str(user_id) if user_id else None, queued=queued)
    await asyncio.sleep(started + FORGOT_SECONDS - time.monotonic())


async def reset_password(
    pool: Pool, keyring: Keyring, hashing: Hashing, *, wakeup: Wakeup, token: str, new_password: str
) -> list[UUID]:
    """Set a new password, revoke every session and API key of the user, and notify them by e-mail; return the revoked ids.

    A second factor stays enabled.

    Raises:
        EmailTokenInvalid
        TooManyLogins: the token stays valid.
    """
    token_hash = rules.emails.hash_token(token)
    # An invalid token must not cost a password hash: it is checked first, and again in the commit that spends it.
    user_id = await _find_owner(pool, token_hash, Kind.RESET_PASSWORD)
    password_hash = await hashing.hash(new_password)
    async with database.transaction(pool) as connection:
        await _spend(connection, user_id, token_hash, kind=Kind.RESET_PASSWORD)
        await store.users.update_password(connection, user_id, password_hash)
        await actions.outgoing.queue_security_email(connection, keyring, user_id, kind=Kind.PASSWORD_CHANGED)
        await actions.audit.record(connection, Audit(Action.PASSWORD_RESET, user_id, user_id))
        ended = await actions.access.lock(connection, user_id)
        await actions.access.revoke(connection, ended, Reason.PASSWORD_RESET, actor_id=user_id)
    log.info("password_reset", user_id=str(user_id), sessions_ended=len(ended.session_ids))
    await actions.access.announce_revocation(wakeup, user_id, ended, reason=Reason.PASSWORD_RESET)
    return [*ended.session_ids, *(key.id for key in ended.api_keys)]


async def claim_emails(pool: Pool, keyring: Keyring, *, limit: int, lease_seconds: float) -> list[OutgoingEmail]:
    """Claim due e-mails under a lease: no other caller gets them before it ends."""
    async with database.transaction(pool) as connection:
        claimed = await store.emails.claim_emails(connection, limit=limit, lease_seconds=lease_seconds)
    return [opened for email in claimed if (opened := _open(keyring, email)) is not None]


async def mark_email_sent(pool: Pool, email_id: UUID) -> None:
    """Record that the mail server accepted an e-mail, and erase its token."""
    async with database.transaction(pool) as connection:
        await store.emails.mark_email_sent(connection, email_id)


async def delay_email(pool: Pool, email_id: UUID, *, seconds: float, error: str) -> None:
    """Record a failed attempt; the e-mail is due again in `seconds`."""
    async with database.transaction(pool) as connection:
        await store.emails.delay_email(connection, email_id, seconds=seconds, error=error)


async def abandon_email(pool: Pool, email_id: UUID, *, error: str) -> None:
    """Record that an e-mail cannot be sent."""
    async with database.transaction(pool) as connection:
        await store.emails.abandon_email(connection, email_id, error=error)


async def release_emails(pool: Pool, email_ids: Sequence[UUID]) -> None:
    """Return claimed e-mails unsent; they are due at once."""
    async with database.transaction(pool) as connection:
        await store.emails.release_emails(connection, email_ids)


async def _find_owner(pool: Pool, token_hash: bytes, kind: Kind) -> UUID:
    async with database.transaction(pool) as connection:
        user_id = await store.emails.find_token_owner(connection, token_hash, kind)
        if user_id is None:
            raise replication.OnceReplicated(EmailTokenInvalid())
    return user_id


async def _spend(connection: Connection, user_id: UUID, token_hash: bytes, *, kind: Kind) -> None:
    user = await store.emails.lock_enabled_user(connection, user_id)
    if user is None or not await store.emails.spend_token(connection, token_hash, kind):
        raise replication.OnceReplicated(EmailTokenInvalid())


def _open(keyring: Keyring, email: Claimed) -> OutgoingEmail | None:
    try:
        opened = keyring.open_token(email.token_sealed, email_id=email.id)
    except WrongSecret:
        # It cannot be opened later either, and ends when its token expires. Other e-mails must not wait for it.
        log.error("email_not_opened", email_id=str(email.id))  # noqa: TRY400 - no trace helps
        return None
    token, detail = (None, opened) if email.kind in rules.emails.WITHOUT_TOKEN else (opened, None)
    return OutgoingEmail(
        email.id,
        email.kind,
        email.email,
        email.name,
        token,
        detail,
        email.created_at,
        email.expires_at,
        email.attempts,
    )


def _detail(*, queued: bool) -> dict[str, str]:
    return {"email": "queued" if queued else "skipped"}


def _count(kind: Kind, *, queued: bool) -> None:
    metrics.EMAILS.labels(kind.value, "queued" if queued else "skipped").inc()
