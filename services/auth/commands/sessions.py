"""Sessions: refresh, log out, list, end one, end all others; and the feed of revocations."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from services.auth import actions, store, tokens
from services.auth.actions.access import Access
from services.auth.actions.audit import Action, Audit
from services.auth.actions.sessions import Reason, Session
from services.auth.keyring import Keyring
from services.auth.store.sessions import EndedSessions, LiveSession, Revocation
from services.auth.wakeup import Wakeup
from services.chassis import database, replication
from services.chassis.database import Pool
from services.contracts import limits
from services.contracts.refusals.auth import InvalidRefreshToken, SessionNotFound

REVOCATIONS_SECONDS = limits.ACCESS_TOKEN_SECONDS + 60.0
"""How long the feed lists a revocation: the lifetime of an access token, plus clock skew."""

REVOCATIONS_MAX = 10_000
"""The longest page of the feed; a reader that gets a full page requests the next one at once."""


class Feed(NamedTuple):
    """A page of revocations, the number to continue after, and the Unix time by the clock that dates access tokens."""

    items: list[Revocation]
    following: int
    now: float


async def refresh(pool: Pool, keyring: Keyring, wakeup: Wakeup, *, refresh_token: str) -> Session:
    """Exchange a refresh token for a new pair of tokens.

    A token that was spent before ends its session and revokes the API keys that were created in the session since then.

    Raises:
        InvalidRefreshToken: it is unknown, spent or expired, or its session has ended.
    """
    token_hash = tokens.hash_refresh(refresh_token)
    ended = actions.access.NONE
    async with database.transaction(pool) as connection:
        session_id = await store.sessions.find_refresh_session(connection, token_hash)
        if session_id is None:
            raise InvalidRefreshToken
        locked = await store.sessions.lock_session(connection, session_id)
        if locked is None:
            raise InvalidRefreshToken
        if locked.revoked:
            raise replication.OnceReplicated(InvalidRefreshToken())
        if await store.sessions.spend_refresh_token(connection, token_hash):
            return await actions.sessions.renew(connection, keyring, session_id, user_id=locked.user_id)
        spent_at = await store.sessions.find_refresh_token_spent_at(connection, token_hash)
        if spent_at is not None:
            # Two clients have the same token, and either may be the attacker: both have to log in again. API keys that were
            # created in this session since then may belong to the attacker and would outlive the session.
            keys = await store.api_keys.lock_live_api_keys_of_session(
                connection, locked.user_id, session_id, since=spent_at
            )
            ended = Access([session_id], keys)
            detail = {"session_id": str(session_id)}
            await actions.audit.record(connection, Audit(Action.REFRESH_REUSED, None, locked.user_id, detail))
            await actions.access.revoke(connection, ended, Reason.REFRESH_REUSED, actor_id=None)
    await actions.access.announce_revocation(wakeup, locked.user_id, ended, reason=Reason.REFRESH_REUSED)
    # Raised after the commit, which ends the session.
    raise InvalidRefreshToken


async def log_out(pool: Pool, wakeup: Wakeup, *, session_id: UUID, user_id: UUID) -> None:
    """End a session of this user. Do nothing if it is unknown, belongs to another user, or has ended."""
    async with database.transaction(pool) as connection:
        live = await store.sessions.lock_live_session(connection, session_id, user_id)
        if not live:
            await replication.await_replication(connection)
            return
        await actions.audit.record(
            connection, Audit(Action.LOGGED_OUT, user_id, user_id, {"session_id": str(session_id)})
        )
        await actions.sessions.revoke(connection, live, Reason.LOGOUT)
    await actions.sessions.announce_revocation(wakeup, user_id, [session_id], reason=Reason.LOGOUT)


async def list_sessions(pool: Pool, *, user_id: UUID, below: UUID, limit: int) -> list[LiveSession]:
    """List live sessions of this user, newest first, with ids below `below`."""
    async with database.connection(pool) as connection:
        return await store.sessions.list_live_sessions(connection, user_id, below=below, limit=limit)


async def end_session(pool: Pool, wakeup: Wakeup, *, user_id: UUID, session_id: UUID) -> None:
    """End one session of this user.

    Raises:
        SessionNotFound: it is unknown, belongs to another user, or has ended.
    """
    async with database.transaction(pool) as connection:
        live = await store.sessions.lock_live_session(connection, session_id, user_id)
        if not live:
            raise replication.OnceReplicated(SessionNotFound())
        detail = {"session_id": str(session_id)}
        await actions.audit.record(connection, Audit(Action.SESSION_REVOKED, user_id, user_id, detail))
        await actions.sessions.revoke(connection, live, Reason.REVOKED)
    await actions.sessions.announce_revocation(wakeup, user_id, live, reason=Reason.REVOKED)


async def end_other_sessions(pool: Pool, wakeup: Wakeup, *, user_id: UUID, keep: UUID) -> None:
    """End every session of this user except `keep`, and revoke every API key.

    Raises:
        SessionNotFound: `keep` has ended; nothing else is revoked.
    """
    async with database.transaction(pool) as connection:
        live = await actions.access.lock(connection, user_id, keep=keep)
        detail = {"kept": str(keep), "sessions_ended": str(len(live.session_ids))}
        await actions.audit.record(connection, Audit(Action.SESSIONS_REVOKED, user_id, user_id, detail))
        await actions.access.revoke(connection, live, Reason.REVOKED, actor_id=user_id)
    await actions.access.announce_revocation(wakeup, user_id, live, reason=Reason.REVOKED)


async def remove_ended(pool: Pool, *, after: UUID, days: int, limit: int) -> EndedSessions:
    """Examine the next `limit` sessions after an id, and remove those that ended so many days ago."""
    async with database.transaction(pool) as connection:
        ended = await store.sessions.lock_ended_sessions(connection, after=after, days=days, limit=limit)
        if ended.ids:
            await store.sessions.delete_sessions(connection, ended.ids)
    return ended


async def list_revocations(pool: Pool, *, after: int) -> Feed:
    """List sessions and API keys revoked after number `after`, while an access token or a cached key may still be valid."""
    async with database.snapshot(pool) as connection:
        last, now = await store.sessions.read_revocation_counter(connection)
        # A reader that is ahead has seen a database that was since restored from a backup: it starts over.
        start = after if after <= last else 0
        items = await store.sessions.list_revocations(
            connection, after=start, age_seconds_max=REVOCATIONS_SECONDS, limit=REVOCATIONS_MAX
        )
    return Feed(items, items[-1].seq if len(items) == REVOCATIONS_MAX else last, now)
