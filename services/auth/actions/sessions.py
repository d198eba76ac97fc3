"""Sessions inside somebody's transaction: open one, renew it, end some. And, once that is committed, tell of it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

import structlog

from services.auth import keyring, metrics, store, tokens
from services.auth.keyring import SigningKey, Vault
from services.auth.rules.user import User
from services.auth.tokens import Pair
from services.auth.wakeup import Wakeup
from services.chassis.database import Connection
from services.contracts.identifiers import new_id

log = structlog.get_logger()


class Reason(StrEnum):
    """Why a session was ended."""

    LOGOUT = "logout"
    REFRESH_REUSED = "refresh_reused"
    ROLE_TAKEN = "role_taken"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a reason
    PASSWORD_RESET = "password_reset"  # noqa: S105 - a reason
    REVOKED = "revoked"
    USER_DISABLED = "user_disabled"
    CROWDED_OUT = "crowded_out"


class Session(NamedTuple):
    """A user and the tokens by which they are recognised."""

    user: User
    pair: Pair


async def open_session(connection: Connection, vault: Vault, user: User, *, user_agent: str | None) -> Session:
    """A new session of this user; who they are must have been verified."""
    session_id = new_id()
    await store.sessions.insert_session(connection, session_id, user.id, user_agent)
    return await _issue(connection, vault, user, session_id)


async def renew(connection: Connection, vault: Vault, session_id: UUID, user_id: UUID) -> Session:
    """The next pair of a session that is locked and live; its refresh token is spent."""
    await store.sessions.prune_refresh_tokens(connection, session_id, count_max=tokens.SPENT_REMEMBERED_MAX)
    await store.sessions.touch_session(connection, session_id)
    user = await store.users.find_user(connection, user_id)
    assert user is not None, "users are never deleted"
    return await _issue(connection, vault, user, session_id)


async def revoke(connection: Connection, session_ids: Sequence[UUID], reason: Reason) -> None:
    """End locked sessions. The last thing a transaction does: it holds the feed's counter until the commit."""
    if session_ids:
        last = await store.sessions.advance_revocations(connection, len(session_ids))
        seqs = range(last - len(session_ids) + 1, last + 1)
        await store.sessions.revoke_sessions(connection, session_ids, seqs, reason=reason.value)


async def tell_ended(wakeup: Wakeup, user_id: UUID, session_ids: Sequence[UUID], reason: Reason) -> None:
    """After the commit: count, log, and notify once so that gateways look now rather than within a second."""
    if session_ids:
        metrics.SESSIONS_ENDED.labels(reason.value).inc(len(session_ids))
        for session_id in session_ids:
            log.info("session_ended", user_id=str(user_id), session_id=str(session_id), reason=reason.value)
        await wakeup.notify()


async def signing_key(connection: Connection, vault: Vault) -> SigningKey:
    """The key that signs now; made when there is none.

    Raises:
        WrongSecret: it was sealed with another secret.
    """
    stored = await store.signing_keys.find_signing_key(connection)
    if stored is None:
        await store.signing_keys.lock_signing_keys(connection)
        stored = await store.signing_keys.find_signing_key(connection)
    if stored is not None:
        return vault.open(stored)
    key = keyring.new_key()
    await store.signing_keys.insert_signing_key(connection, vault.seal(key))
    log.info("signing_key_created", kid=key.kid)
    return key


async def _issue(connection: Connection, vault: Vault, user: User, session_id: UUID) -> Session:
    refresh_token = tokens.new_refresh()
    now = await store.sessions.insert_refresh_token(
        connection, tokens.hash_refresh(refresh_token), session_id, lifetime_seconds=tokens.REFRESH_SECONDS
    )
    key = await signing_key(connection, vault)
    return Session(user, Pair(tokens.sign_access(key, user, session_id, now=now), refresh_token))
