"""API keys inside somebody's transaction: end some, under numbers of the same feed by which sessions end.

Who is disabled or loses a role loses both. A logout, another password or a stolen refresh token ends sessions alone: the
servers that hold keys have nothing to do with it. Keys are locked before anything takes numbers of the feed.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from services.auth import audit, store, store_api_keys
from services.auth.sessions import Reason
from services.auth.store import Act, Audit
from services.auth.store_api_keys import LockedApiKey
from services.chassis.database import Connection


async def revoke(
    connection: Connection, keys: Sequence[LockedApiKey], reason: Reason, *, actor_id: UUID | None
) -> None:
    """End locked keys, each with an entry in the audit log. Like `sessions.revoke`, it holds the feed until the commit."""
    if not keys:
        return
    for key in keys:
        detail = {"api_key_id": str(key.id), "prefix": key.prefix, "reason": reason.value}
        await audit.record(connection, Audit(Act.API_KEY_REVOKED, actor_id, key.user_id, detail))
    last = await store.advance_revocations(connection, len(keys))
    seqs = range(last - len(keys) + 1, last + 1)
    await store_api_keys.revoke_api_keys(connection, [key.id for key in keys], seqs, reason=reason.value)
