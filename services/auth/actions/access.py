"""Every way into an account, inside somebody's transaction: all its sessions, and all its API keys.

Whatever ends every session of a user ends their keys too: who lost an account to somebody must not have to know of the keys
that were made meanwhile. The end of one session (a logout, a stolen refresh token) ends that session alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from services.auth import store
from services.auth.actions import api_keys, sessions
from services.auth.actions.sessions import Reason
from services.auth.errors import SessionNotFound
from services.auth.store.api_keys import LockedApiKey
from services.auth.wakeup import Wakeup
from services.chassis.database import Connection


class Access(NamedTuple):
    """What is live of a user, locked until the transaction ends."""

    session_ids: Sequence[UUID] = ()
    api_keys: Sequence[LockedApiKey] = ()


NONE = Access()


async def lock(connection: Connection, user_id: UUID, *, keep: UUID | None = None) -> Access:
    """Lock every session of a user but the one to keep, and every key. Before anything takes numbers of the feed.

    Raises:
        SessionNotFound: the one to keep is not theirs, or has ended.
    """
    live = await store.sessions.lock_live_sessions_of_user(connection, user_id)
    if keep is not None and keep not in live:
        raise SessionNotFound
    keys = await store.api_keys.lock_live_api_keys_of_user(connection, user_id)
    return Access([each for each in live if each != keep], keys)


async def revoke(connection: Connection, access: Access, reason: Reason, *, actor_id: UUID | None) -> None:
    """End what is locked. The last thing a transaction does: it holds the feed's counter until the commit."""
    await sessions.revoke(connection, access.session_ids, reason)
    await api_keys.revoke(connection, access.api_keys, reason, actor_id=actor_id)


async def tell_ended(wakeup: Wakeup, user_id: UUID, access: Access, reason: Reason) -> None:
    """After the commit: count, log, and notify so that gateways look now rather than within a second."""
    await sessions.tell_ended(wakeup, user_id, access.session_ids, reason)
    await api_keys.tell_ended(wakeup, access.api_keys, reason)
