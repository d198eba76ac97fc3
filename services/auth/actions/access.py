"""The live sessions and API keys of a user: lock them, revoke them, and announce it after the commit.

An action that ends every session of a user also revokes their API keys: the owner of a stolen account may not know about keys
that an attacker created. The end of a single session (a logout, a reused refresh token) leaves other sessions alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from services.auth import store
from services.auth.actions import api_keys, sessions
from services.auth.actions.sessions import Reason
from services.auth.store.api_keys import LockedApiKey
from services.auth.wakeup import Wakeup
from services.chassis.database import Connection
from services.contracts.refusals.auth import SessionNotFound


class Access(NamedTuple):
    """Live sessions and API keys of a user, locked until the transaction ends."""

    session_ids: Sequence[UUID] = ()
    api_keys: Sequence[LockedApiKey] = ()


NONE = Access()


async def lock(connection: Connection, user_id: UUID, *, keep: UUID | None = None) -> Access:
    """Lock every API key of a user and every session except `keep`. Call it before taking numbers of the feed.

    Raises:
        SessionNotFound: `keep` is not a live session of this user.
    """
    live = await store.sessions.lock_live_sessions_of_user(connection, user_id)
    if keep is not None and keep not in live:
        raise SessionNotFound
    keys = await store.api_keys.lock_live_api_keys_of_user(connection, user_id)
    return Access([each for each in live if each != keep], keys)


async def revoke(connection: Connection, access: Access, reason: Reason, *, actor_id: UUID | None) -> None:
    """Revoke locked access. Call it last in a transaction: it keeps the feed's counter locked until the commit."""
    await sessions.revoke(connection, access.session_ids, reason)
    await api_keys.revoke(connection, access.api_keys, reason, actor_id=actor_id)


async def announce_revocation(wakeup: Wakeup, user_id: UUID, access: Access, *, reason: Reason) -> None:
    """Count, log and wake the gateways, which otherwise poll every second. Call it after the commit."""
    await sessions.announce_revocation(wakeup, user_id, access.session_ids, reason=reason)
    await api_keys.announce_revocation(wakeup, access.api_keys, reason)
