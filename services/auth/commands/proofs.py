"""Verify the password of a logged-in user again, before an action that a stolen session must not be enough for."""

from __future__ import annotations

from uuid import UUID

import structlog

from services.auth import actions, store
from services.auth.actions.audit import Action, Audit
from services.auth.passwords import Hashing
from services.auth.store.accounts import Credentials
from services.chassis import database
from services.chassis.database import Pool
from services.contracts.refusals.auth import InvalidCredentials

log = structlog.get_logger()


async def verify_password(pool: Pool, hashing: Hashing, *, user_id: UUID, password: str) -> Credentials:
    """The credentials of the user, if the password is correct. No database connection is held meanwhile.

    Raises:
        InvalidCredentials: the password is wrong; the failure is recorded.
        TooManyLogins
    """
    async with database.connection(pool) as connection:
        credentials = await store.accounts.find_credentials_of(connection, user_id)
    stored = credentials.password_hash if credentials else None
    if await hashing.verify(stored, password) and credentials is not None:
        return credentials
    await record_failure(pool, user_id=user_id)
    raise InvalidCredentials


async def record_failure(pool: Pool, *, user_id: UUID) -> None:
    """Record that a client with a session of this user failed to verify the password."""
    async with database.transaction(pool) as connection:
        await actions.audit.record(connection, Audit(Action.PROOF_FAILED, user_id, user_id))
    log.info("proof_failed", user_id=str(user_id))
