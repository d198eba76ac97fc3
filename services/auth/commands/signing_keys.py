"""The keys that sign access tokens: published first, signing when everybody knows them, retired when nobody needs them."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

import structlog

from services.auth import actions, keyring, store, tokens
from services.auth.actions.audit import Action, Audit
from services.auth.keyring import StoredKey, Vault
from services.auth.store.signing_keys import KeyFacts
from services.chassis import database, replication
from services.chassis.database import Connection, Pool
from services.contracts.access_keys import KEYS_LEARNED_WITHIN_SECONDS

VERIFIES_SECONDS = tokens.ACCESS_SECONDS + 60.0
"""How long a key verifies after the next one took over: one token lifetime, and the clocks' disagreement."""

log = structlog.get_logger()


class Rotation(NamedTuple):
    """All keys after a rotation; `is_new` is False when a key was waiting to sign already and no other was made."""

    keys: list[KeyFacts]
    is_new: bool


async def list_keys(pool: Pool, vault: Vault) -> list[StoredKey]:
    """Every key whose signatures hold; makes the first one when there is none, and lets go of those that are over.

    Raises:
        WrongSecret: the signing key was sealed with another secret.
    """
    async with database.transaction(pool) as connection:
        await actions.sessions.signing_key(connection, vault)
        await _retire(connection)
        return await store.signing_keys.list_verifying_keys(connection)


async def list_all_keys(pool: Pool) -> list[KeyFacts]:
    """Every key there ever was, oldest first."""
    async with database.connection(pool) as connection:
        return await store.signing_keys.list_all_keys(connection, verifies_seconds=VERIFIES_SECONDS)


async def rotate_keys(pool: Pool, vault: Vault, *, operator_id: UUID | None) -> Rotation:
    """Publish a new key, which signs as soon as every gateway must have learned it. Nobody is logged out.

    While a key is waiting to sign, no further one is made: asked twice, it happens once.

    Raises:
        WrongSecret: the signing key was sealed with another secret.
    """
    async with database.transaction(pool) as connection:
        await actions.sessions.signing_key(connection, vault)
        await store.signing_keys.lock_signing_keys(connection)
        is_new = not await store.signing_keys.has_waiting_key(connection)
        if is_new:
            key = keyring.new_key()
            await store.signing_keys.insert_next_signing_key(
                connection, vault.seal(key), signs_in_seconds=KEYS_LEARNED_WITHIN_SECONDS
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
