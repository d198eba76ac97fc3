"""The keys that sign access tokens: published, then used once every gateway knows them, then retired."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

import structlog

from services.auth import actions, store
from services.auth.actions.audit import Action, Audit
from services.auth.keyring import Keyring, StoredKey, new_signing_key
from services.auth.store.signing_keys import KeyFacts
from services.chassis import database, replication
from services.chassis.database import Connection, Pool
from services.contracts import limits
from services.contracts.access_keys import KEYS_LEARNED_WITHIN_SECONDS

VERIFIES_SECONDS = limits.ACCESS_TOKEN_SECONDS + 60.0
"""How long a key verifies after the next one took over: the lifetime of an access token, plus clock skew."""

log = structlog.get_logger()


class Rotation(NamedTuple):
    """All keys after a rotation; `is_new` is False if a key was already waiting to sign and no other was created."""

    keys: list[KeyFacts]
    is_new: bool


async def list_keys(pool: Pool, keyring: Keyring) -> list[StoredKey]:
    """List the keys that verify. Create the first one if there is none, and retire expired ones.

    Raises:
        WrongSecret: the signing key was sealed with another secret.
    """
    async with database.transaction(pool) as connection:
        await actions.sessions.signing_key(connection, keyring)
        await _retire(connection)
        return await store.signing_keys.list_verifying_keys(connection)


async def list_all_keys(pool: Pool) -> list[KeyFacts]:
    """List all keys, including retired ones, oldest first."""
    async with database.connection(pool) as connection:
        return await store.signing_keys.list_all_keys(connection, verifies_seconds=VERIFIES_SECONDS)


async def rotate_keys(pool: Pool, keyring: Keyring, *, operator_id: UUID | None) -> Rotation:
    """Publish a new key, which signs once every gateway has fetched it. Sessions are not affected.

    No key is created while another one is waiting to sign: a repeated request has no effect.

    Raises:
        WrongSecret: the signing key was sealed with another secret.
    """
    async with database.transaction(pool) as connection:
        await actions.sessions.signing_key(connection, keyring)
        await store.signing_keys.lock_signing_keys(connection)
        is_new = not await store.signing_keys.has_waiting_key(connection)
        if is_new:
            key = new_signing_key()
            await store.signing_keys.insert_next_signing_key(
                connection, keyring.seal(key), signs_in_seconds=KEYS_LEARNED_WITHIN_SECONDS
            )
            await actions.audit.record(connection, Audit(Action.KEY_ROTATED, operator_id, None, {"kid": key.kid}))
            log.info("signing_key_published", kid=key.kid, signs_in_seconds=KEYS_LEARNED_WITHIN_SECONDS)
        else:
            await replication.await_replication(connection)
        await _retire(connection)
        found = await store.signing_keys.list_all_keys(connection, verifies_seconds=VERIFIES_SECONDS)
    return Rotation(found, is_new)


async def _retire(connection: Connection) -> None:
    for kid in await store.signing_keys.retire_signing_keys(connection, verifies_seconds=VERIFIES_SECONDS):
        await actions.audit.record(connection, Audit(Action.KEY_RETIRED, None, None, {"kid": kid}))
        log.info("signing_key_retired", kid=kid)
