"""What the auth service can be told about API keys: one database transaction per function."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import structlog

from services.auth import api_keys, audit, metrics, outgoing, store_api_keys
from services.auth.bell import Bell
from services.auth.errors import ApiKeyNotFound, InvalidParameter, OperatorRequired, TooManyApiKeys, UserNotFound
from services.auth.keys import Vault
from services.auth.letters import Kind
from services.auth.sessions import Reason
from services.auth.store import Act, Audit
from services.auth.store_api_keys import ListedApiKey, NewApiKey, UsedApiKey
from services.auth.user import Role
from services.chassis import database
from services.chassis.database import Pool
from services.contracts.api_keys import Scope, hash_key, new_key
from services.contracts.identifiers import new_id

PER_USER_MAX = 50
"""How many keys of one user may be unrevoked at a time; expired ones count, so that every list stays short."""

log = structlog.get_logger()


class CreatedApiKey(NamedTuple):
    """A new key; `text` is the key itself, which is told this once."""

    text: str
    listed: ListedApiKey


async def create_api_key(
    pool: Pool,
    vault: Vault,
    *,
    user_id: UUID,
    session_id: UUID,
    name: str,
    scopes: Sequence[Scope],
    expires_at: datetime | None,
) -> CreatedApiKey:
    """Make a key that speaks for a user, who is told by a letter.

    Their session must go on until the commit: what ends it ends keys made before, too.

    Raises:
        OperatorRequired: it is to operate, and the user is no operator.
        TooManyApiKeys: the user has as many as one may have.
        InvalidParameter: it would have expired already.
        UserNotFound: nobody has this session; it may just have ended.
    """
    key = new_key()
    row = NewApiKey(new_id(), user_id, name, sorted(scopes), key.prefix, hash_key(key.text), expires_at, session_id)
    async with database.transaction(pool) as connection:
        role = await store_api_keys.lock_owner(connection, user_id, session_id)
        if role is None:
            raise UserNotFound
        if Scope.OPERATE in scopes and role is not Role.OPERATOR:
            raise OperatorRequired
        if await store_api_keys.count_api_keys(connection, user_id) >= PER_USER_MAX:
            raise TooManyApiKeys
        listed = await store_api_keys.insert_api_key(connection, row)
        if listed is None:
            raise InvalidParameter("expires_at", "must lie in the future")
        detail = {"api_key_id": str(row.id), "prefix": key.prefix, "scopes": " ".join(row.scopes)}
        await audit.record(connection, Audit(Act.API_KEY_CREATED, user_id, user_id, detail))
        # Not its name: whoever made the key chose that, and must not write our letters.
        told = " ".join((key.prefix, *row.scopes))
        await outgoing.tell(connection, vault, user_id, Kind.API_KEY_CREATED, detail=told)
    log.info("api_key_created", user_id=str(user_id), api_key_id=str(row.id), scopes=row.scopes)
    return CreatedApiKey(key.text, listed)


async def list_api_keys(pool: Pool, user_id: UUID) -> list[ListedApiKey]:
    """A user's keys that were not revoked, newest first."""
    async with database.connection(pool) as connection:
        return await store_api_keys.list_api_keys(connection, user_id)


async def revoke_api_key(pool: Pool, bell: Bell, *, key_id: UUID, user_id: UUID) -> None:
    """End a key of this user, everywhere within a second.

    Raises:
        ApiKeyNotFound: it is unknown, another's, or was revoked before.
    """
    async with database.transaction(pool) as connection:
        live = await store_api_keys.lock_live_api_key(connection, key_id, user_id)
        if not live:
            raise ApiKeyNotFound
        await api_keys.revoke(connection, live, Reason.REVOKED, actor_id=user_id)
    await api_keys.tell_ended(bell, live, Reason.REVOKED)


async def verify_api_key(pool: Pool, key_hash: bytes) -> UsedApiKey:
    """Whom the key with this hash speaks for. Its use is noted, and audited once an hour, in the same commit.

    Raises:
        ApiKeyNotFound: it is unknown, revoked or expired.
    """
    async with database.transaction(pool) as connection:
        used = await store_api_keys.use_api_key(connection, key_hash)
        if used is not None and await store_api_keys.advance_audited_hour(connection, used.id):
            detail = {"api_key_id": str(used.id), "prefix": used.prefix}
            await audit.record(connection, Audit(Act.API_KEY_USED, used.user_id, used.user_id, detail))
    metrics.API_KEYS_VERIFIED.labels("refused" if used is None else "verified").inc()
    if used is None:
        raise ApiKeyNotFound
    return used
