"""The keys that sign access tokens, from publication to retirement."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from services.auth.keyring import StoredKey
from services.chassis.database import Connection, Record
from services.chassis.statements import Statements

statements = Statements(Path(__file__).parents[1] / "sql" / "queries" / "signing_keys.sql")


class KeyFacts(NamedTuple):
    """A key as operators see it.

    `state` is `waiting`, `signing`, `verifying` or `retired`; `retires_at` is when the key can be retired.
    """

    kid: str
    state: str
    created_at: datetime
    signs_from: datetime
    retires_at: datetime | None
    retired_at: datetime | None


async def lock_signing_keys(connection: Connection) -> None:
    """Serialize the creation of signing keys until the transaction ends."""
    await connection.execute(statements.lock_signing_keys)


async def find_signing_key(connection: Connection) -> StoredKey | None:
    """The current signing key."""
    row = await connection.fetchrow(statements.find_signing_key)
    return None if row is None else StoredKey(*row)


async def insert_signing_key(connection: Connection, key: StoredKey) -> None:
    """Insert a key that signs from now on."""
    await connection.execute(statements.insert_signing_key, key.kid, key.public_key, key.private_key_sealed)


async def list_verifying_keys(connection: Connection) -> list[StoredKey]:
    """List the keys that verify."""
    return [StoredKey(*row) for row in await connection.fetch(statements.list_verifying_keys)]


async def list_all_keys(connection: Connection, *, verifies_seconds: float) -> list[KeyFacts]:
    """List all keys, oldest first; a key verifies for `verifies_seconds` after the next one took over."""
    return [_facts(row) for row in await connection.fetch(statements.list_all_keys, verifies_seconds)]


async def has_waiting_key(connection: Connection) -> bool:
    """Whether a published key does not sign yet."""
    return await connection.fetchval(statements.find_waiting_key) is not None


async def insert_next_signing_key(connection: Connection, key: StoredKey, *, signs_in_seconds: float) -> None:
    """Publish a key that signs in `signs_in_seconds`."""
    await connection.execute(
        statements.insert_next_signing_key, key.kid, key.public_key, key.private_key_sealed, signs_in_seconds
    )


async def retire_signing_keys(connection: Connection, *, verifies_seconds: float) -> list[str]:
    """Retire the keys whose tokens have all expired; return their ids."""
    return [row["kid"] for row in await connection.fetch(statements.retire_signing_keys, verifies_seconds)]


def _facts(row: Record) -> KeyFacts:
    if row["retired_at"] is not None:
        state = "retired"
    elif row["is_waiting"]:
        state = "waiting"
    else:
        state = "signing" if row["is_newest"] else "verifying"
    return KeyFacts(row["kid"], state, row["created_at"], row["signs_from"], row["retires_at"], row["retired_at"])
