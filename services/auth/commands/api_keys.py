"""API keys: create, list, revoke and verify."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import structlog

from services.auth import actions, metrics, store
from services.auth.actions.audit import Action, Audit
from services.auth.actions.sessions import Reason
from services.auth.commands import proofs
from services.auth.keyring import Keyring
from services.auth.passwords import Hashing
from services.auth.rules.emails import Kind
from services.auth.rules.user import Role
from services.auth.store.api_keys import ListedApiKey, NewApiKey, UsedApiKey
from services.auth.wakeup import Wakeup
from services.chassis import database, replication
from services.chassis.body import InvalidParameter
from services.chassis.database import Connection, Pool
from services.contracts.api_keys import Scope, hash_key, new_key
from services.contracts.identifiers import new_id
from services.contracts.refusals.auth import ApiKeyLimitReached, ApiKeyNotFound, OperatorRequired, UserNotFound

PER_USER_MAX = 50
"""Unrevoked keys of one user; expired ones count, so that every list stays short."""

log = structlog.get_logger()


class CreatedApiKey(NamedTuple):
    """A new key; `text` is the key itself, which is returned only once."""

    text: str
    listed: ListedApiKey


async def create_api_key(
    pool: Pool,
    keyring: Keyring,
    hashing: Hashing,
    *,
    user_id: UUID,
    session_id: UUID,
    password: str,
    totp: str | None,
    name: str,
    scopes: Sequence[Scope],
    expires_at: datetime | None,
) -> CreatedApiKey:
    """Create an API key of a user and notify the user by e-mail.

    The password is required: with a session alone, a stolen access token could be turned into permanent access. The session
    must be live at the commit, because the command that ends a session also revokes keys created in it.

    Raises:
        InvalidCredentials, TotpRequired, UserDisabled: the failure is recorded.
        TooManyLogins
        OperatorRequired: the key has the scope `operate`, and the user is not an operator.
        ApiKeyLimitReached
        InvalidParameter: it would already have expired.
        UserNotFound: the user has no such session, or it has just ended.
    """
    credentials = await proofs.verify_password(pool, hashing, user_id=user_id, password=password)
    key = new_key()
    row = NewApiKey(new_id(), user_id, name, sorted(scopes), key.prefix, hash_key(key.text), expires_at, session_id)
    async with database.transaction(pool) as connection:
        locked = await store.accounts.lock_verified_user(connection, credentials)
        refusal = await actions.second_factor.prove(connection, keyring, locked, code=totp, user_id=user_id)
        if refusal is None:
            # A refusal rolls back the use of the code.
            listed = await _insert(connection, keyring, row)
    if refusal is not None:
        raise refusal
    log.info("api_key_created", user_id=str(user_id), api_key_id=str(row.id), scopes=row.scopes)
    return CreatedApiKey(key.text, listed)


async def list_api_keys(pool: Pool, user_id: UUID) -> list[ListedApiKey]:
    """List the unrevoked keys of a user, newest first."""
    async with database.connection(pool) as connection:
        return await store.api_keys.list_api_keys(connection, user_id)


async def revoke_api_key(pool: Pool, wakeup: Wakeup, *, key_id: UUID, user_id: UUID) -> None:
    """Revoke a key of this user. Every gateway rejects it within a second.

    Raises:
        ApiKeyNotFound: it is unknown, belongs to another user, or was revoked before.
    """
    async with database.transaction(pool) as connection:
        live = await store.api_keys.lock_live_api_key(connection, key_id, user_id)
        if not live:
            raise replication.OnceReplicated(ApiKeyNotFound())
        await actions.api_keys.revoke(connection, live, Reason.REVOKED, actor_id=user_id)
    await actions.api_keys.announce_revocation(wakeup, live, Reason.REVOKED)


async def verify_api_key(pool: Pool, key_hash: bytes) -> UsedApiKey:
    """Authenticate a key by its hash. Its use is recorded, and audited once an hour, in the same commit.

    Raises:
        ApiKeyNotFound: it is unknown, revoked or expired.
    """
    async with database.transaction(pool) as connection:
        used = await store.api_keys.use_api_key(connection, key_hash)
        if used is not None and await store.api_keys.advance_audited_hour(connection, used.id):
            detail = {"api_key_id": str(used.id), "prefix": used.prefix}
            await actions.audit.record(connection, Audit(Action.API_KEY_USED, used.user_id, used.user_id, detail))
    metrics.API_KEYS_VERIFIED.labels("refused" if used is None else "verified").inc()
    if used is None:
        raise ApiKeyNotFound
    return used


async def _insert(connection: Connection, keyring: Keyring, row: NewApiKey) -> ListedApiKey:
    role = await store.api_keys.lock_owner(connection, row.user_id, row.session_id)
    if role is None:
        raise UserNotFound
    if Scope.OPERATE in row.scopes and role is not Role.OPERATOR:
        raise OperatorRequired
    if await store.api_keys.count_api_keys(connection, row.user_id) >= PER_USER_MAX:
        raise ApiKeyLimitReached
    listed = await store.api_keys.insert_api_key(connection, row)
    if listed is None:
        raise InvalidParameter("expires_at", "must lie in the future")
    detail = {"api_key_id": str(row.id), "prefix": row.prefix, "scopes": " ".join(row.scopes)}
    await actions.audit.record(connection, Audit(Action.API_KEY_CREATED, row.user_id, row.user_id, detail))
    # Without its name, which the creator of the key chose: an attacker must not choose text of our e-mails.
    shown = " ".join((row.prefix, *row.scopes))
    await actions.outgoing.queue_security_email(
        connection, keyring, row.user_id, kind=Kind.API_KEY_CREATED, detail=shown
    )
    return listed
