"""Revoke API keys in the caller's transaction, with numbers of the same feed as sessions, and announce it after the commit.

Lock keys before taking numbers of the feed: a transaction that revokes a key keeps the key locked while it waits for a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import structlog

from services.auth import store
from services.auth.actions import audit
from services.auth.actions.audit import Action, Audit
from services.auth.actions.sessions import Reason
from services.auth.store.api_keys import LockedApiKey
from services.auth.wakeup import Wakeup
from services.chassis.database import Connection

log = structlog.get_logger()


async def revoke(
    connection: Connection, keys: Sequence[LockedApiKey], reason: Reason, *, actor_id: UUID | None
) -> None:
    """Revoke locked keys, each with an entry in the audit log. Like `sessions.revoke`, it locks the feed until the commit."""
    if not keys:
        return
    for key in keys:
        detail = {"api_key_id": str(key.id), "prefix": key.prefix, "reason": reason.value}
        await audit.record(connection, Audit(Action.API_KEY_REVOKED, actor_id, key.user_id, detail))
    last = await store.sessions.advance_revocations(connection, len(keys))
    seqs = range(last - len(keys) + 1, last + 1)
    await store.api_keys.revoke_api_keys(connection, [key.id for key in keys], seqs, reason=reason.value)


async def announce_revocation(wakeup: Wakeup, keys: Sequence[LockedApiKey], reason: Reason) -> None:
    """Log and wake the gateways, which otherwise poll every second. Call it after the commit."""
    if keys:
        for key in keys:
            log.info("api_key_revoked", user_id=str(key.user_id), api_key_id=str(key.id), reason=reason.value)
        await wakeup.notify()
