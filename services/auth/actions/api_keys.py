"""API keys inside somebody's transaction: end some, under numbers of the same feed by which sessions end.

Keys are locked before anything takes numbers of the feed: who revokes one holds its lock while waiting for a number.
And, once that is committed, tell of it.
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
    """End locked keys, each with an entry in the audit log. Like `sessions.revoke`, it holds the feed until the commit."""
    if not keys:
        return
    for key in keys:
        detail = {"api_key_id": str(key.id), "prefix": key.prefix, "reason": reason.value}
        await audit.record(connection, Audit(Action.API_KEY_REVOKED, actor_id, key.user_id, detail))
    last = await store.sessions.advance_revocations(connection, len(keys))
    seqs = range(last - len(keys) + 1, last + 1)
    await store.api_keys.revoke_api_keys(connection, [key.id for key in keys], seqs, reason=reason.value)


async def tell_ended(wakeup: Wakeup, keys: Sequence[LockedApiKey], reason: Reason) -> None:
    """After the commit: log, and notify so that gateways look now rather than within a second."""
    if keys:
        for key in keys:
            log.info("api_key_revoked", user_id=str(key.user_id), api_key_id=str(key.id), reason=reason.value)
        await wakeup.notify()
