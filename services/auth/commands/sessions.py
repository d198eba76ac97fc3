"""Sessions of a user: list them, end one, end all others."""

from __future__ import annotations

from uuid import UUID

from services.auth import actions, store
from services.auth.actions.audit import Action, Audit
from services.auth.actions.sessions import Reason
from services.auth.store.sessions import LiveSession
from services.auth.wakeup import Wakeup
from services.chassis import database, replication
from services.chassis.database import Pool
from services.contracts.refusals.auth import SessionNotFound


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
