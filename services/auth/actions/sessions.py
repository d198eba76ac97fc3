"""Open, renew and revoke sessions in the caller's transaction, and announce it after the commit."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

import structlog

from services.auth import metrics, store, tokens
from services.auth.keyring import Keyring, SigningKey, new_signing_key
from services.auth.rules.user import User
from services.auth.tokens import Pair
from services.auth.wakeup import Wakeup
from services.chassis.database import Connection
from services.contracts import limits
from services.contracts.identifiers import new_id

log = structlog.get_logger()


class Reason(StrEnum):
    """Why a session or an API key was revoked."""

    LOGOUT = "logout"
    REFRESH_REUSED = "refresh_reused"
    ROLE_REMOVED = "role_removed"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a reason
    PASSWORD_RESET = "password_reset"  # noqa: S105 - a reason
    REVOKED = "revoked"
    USER_DISABLED = "user_disabled"
    SESSION_LIMIT = "session_limit"


class Session(NamedTuple):
    """A user and the tokens of their session."""

    user: User
    pair: Pair


async def open_session(connection: Connection, keyring: Keyring, user: User, *, user_agent: str | None) -> Session:
    """Open a session of a user who has been authenticated."""
    session_id = new_id()
    await store.sessions.insert_session(connection, session_id, user.id, user_agent=user_agent)
    return await _issue(connection, keyring, user, session_id=session_id)


async def renew(connection: Connection, keyring: Keyring, session_id: UUID, *, user_id: UUID) -> Session:
    """Issue the next pair of tokens of a locked, live session, whose refresh token is spent."""
    await store.sessions.prune_refresh_tokens(connection, session_id, count_max=tokens.SPENT_REMEMBERED_MAX)
    await store.sessions.touch_session(connection, session_id)
    user = await store.users.find_user(connection, user_id)
    assert user is not None, "users are never deleted"
    return await _issue(connection, keyring, user, session_id=session_id)


async def revoke(connection: Connection, session_ids: Sequence[UUID], reason: Reason) -> None:
    """Revoke locked sessions. Call it last in a transaction: it keeps the feed's counter locked until the commit."""
    if session_ids:
        last = await store.sessions.advance_revocations(connection, len(session_ids))
        seqs = range(last - len(session_ids) + 1, last + 1)
        await store.sessions.revoke_sessions(connection, session_ids, seqs, reason=reason.value)


async def announce_revocation(wakeup: Wakeup, user_id: UUID, session_ids: Sequence[UUID], *, reason: Reason) -> None:
    """Count, log and wake the gateways once, which otherwise poll every second. Call it after the commit."""
    if session_ids:
        metrics.SESSIONS_ENDED.labels(reason.value).inc(len(session_ids))
        for session_id in session_ids:
            log.info("session_ended", user_id=str(user_id), session_id=str(session_id), reason=reason.value)
        await wakeup.notify()


async def signing_key(connection: Connection, keyring: Keyring) -> SigningKey:
    """The current signing key, created if there is none.

    Raises:
        WrongSecret: it was sealed with another secret.
    """
    stored = await store.signing_keys.find_signing_key(connection)
    if stored is None:
        await store.signing_keys.lock_signing_keys(connection)
        stored = await store.signing_keys.find_signing_key(connection)
    if stored is not None:
        return keyring.open(stored)
    key = new_signing_key()
    await store.signing_keys.insert_signing_key(connection, keyring.seal(key))
    log.info("signing_key_created", kid=key.kid)
    return key


async def _issue(connection: Connection, keyring: Keyring, user: User, *, session_id: UUID) -> Session:
    refresh_token = tokens.new_refresh()
    now = await store.sessions.insert_refresh_token(
        connection, tokens.hash_refresh(refresh_token), session_id, lifetime_seconds=limits.REFRESH_TOKEN_SECONDS
    )
    key = await signing_key(connection, keyring)
    return Session(user, Pair(tokens.sign_access(key, user, session_id, now=now), refresh_token))
