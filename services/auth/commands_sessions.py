"""A user's own sessions: which go on, and the end of one or of all others."""

from __future__ import annotations

from uuid import UUID

from services.auth import access, audit, sessions, store, store_sessions
from services.auth.bell import Bell
from services.auth.errors import SessionNotFound
from services.auth.sessions import Reason
from services.auth.store import Act, Audit
from services.auth.store_sessions import LiveSession
from services.chassis import database, replication
from services.chassis.database import Pool


async def list_sessions(pool: Pool, *, user_id: UUID, below: UUID, limit: int) -> list[LiveSession]:
    """Sessions of this user that go on, newest first, with ids below this one."""
    async with database.connection(pool) as connection:
        return await store_sessions.list_live_sessions(connection, user_id, below=below, limit=limit)


async def end_session(pool: Pool, bell: Bell, *, user_id: UUID, session_id: UUID) -> None:
    """End one session of this user.

    Raises:
        SessionNotFound: it is unknown, another's, or has ended.
    """
    async with database.transaction(pool) as connection:
        live = await store.lock_live_session(connection, session_id, user_id)
        if not live:
            raise replication.OnceReplicated(SessionNotFound())
        detail = {"session_id": str(session_id)}
        await audit.record(connection, Audit(Act.SESSION_REVOKED, user_id, user_id, detail))
        await sessions.revoke(connection, live, Reason.REVOKED)
    await sessions.tell_ended(bell, user_id, live, Reason.REVOKED)


async def end_other_sessions(pool: Pool, bell: Bell, *, user_id: UUID, keep: UUID) -> None:
    """End every session of this user but one, and every API key.

    Raises:
        SessionNotFound: that one has ended; it ends no others any more.
    """
    async with database.transaction(pool) as connection:
        live = await access.lock(connection, user_id, keep=keep)
        detail = {"kept": str(keep), "sessions_ended": str(len(live.session_ids))}
        await audit.record(connection, Audit(Act.SESSIONS_REVOKED, user_id, user_id, detail))
        await access.revoke(connection, live, Reason.REVOKED, actor_id=user_id)
    await access.tell_ended(bell, user_id, live, Reason.REVOKED)
