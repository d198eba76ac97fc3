"""The second factor of a user: proposed, confirmed with a first code, removed, and the codes for when it is lost."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

import structlog

from services.auth import actions, rules, store
from services.auth.actions.audit import Action, Audit
from services.auth.commands import proofs
from services.auth.errors import (
    InvalidCredentials,
    TotpAlreadyEnabled,
    TotpNotEnabled,
    TotpNotStarted,
    UserDisabled,
    UserNotFound,
)
from services.auth.keyring import Vault
from services.auth.passwords import Hashing
from services.auth.rules.emails import Kind
from services.auth.store.accounts import Credentials, Locked
from services.chassis import database, replication
from services.chassis.database import Connection, Pool
from services.contracts.refusal import Refusal

log = structlog.get_logger()


class Proposal(NamedTuple):
    """A secret to put into an authenticator: as text, and as the URI of a QR code."""

    secret: str
    uri: str


async def start_totp(pool: Pool, vault: Vault, hashing: Hashing, *, user_id: UUID, password: str) -> Proposal:
    """Propose a second factor. It is not on before it is confirmed; starting again replaces the proposal.

    Raises:
        InvalidCredentials, UserDisabled, TotpAlreadyEnabled, TooManyLogins
    """
    credentials = await proofs.verify_password(pool, hashing, user_id=user_id, password=password)
    secret = rules.totp.new_secret()
    async with database.transaction(pool) as connection:
        locked = await store.accounts.lock_verified_user(connection, credentials)
        if locked is None:
            raise InvalidCredentials
        if locked.is_disabled:
            raise UserDisabled
        if locked.user.totp:
            raise replication.OnceReplicated(TotpAlreadyEnabled())
        await store.totp.propose_totp(connection, user_id, vault.seal_factor(secret, user_id))
        await actions.audit.record(connection, Audit(Action.TOTP_STARTED, user_id, user_id))
    return Proposal(rules.totp.secret_text(secret), rules.totp.provisioning_uri(secret, locked.user.email))


async def confirm_totp(pool: Pool, vault: Vault, *, user_id: UUID, code: str) -> list[str]:
    """Turn the second factor on; the recovery codes, which nobody can tell a second time.

    Raises:
        InvalidCredentials: the code is not one of the proposed secret; that is recorded.
        UserDisabled, TotpNotStarted, TotpAlreadyEnabled
    """
    codes = rules.totp.new_recovery_codes()
    async with database.transaction(pool) as connection:
        locked = await store.accounts.lock_user(connection, user_id)
        step = _step_of_proposal(vault, locked, code)
        if step is None:
            await actions.audit.record(connection, Audit(Action.PROOF_FAILED, user_id, user_id))
        else:
            await store.totp.confirm_totp(connection, user_id, step)
            await _keep(connection, user_id, codes)
            await actions.audit.record(connection, Audit(Action.TOTP_CONFIRMED, user_id, user_id))
    if step is None:
        # Raised only now: that it was tried had to be committed.
        raise InvalidCredentials
    log.info("totp_confirmed", user_id=str(user_id))
    return codes


async def remove_totp(pool: Pool, vault: Vault, hashing: Hashing, *, user_id: UUID, password: str, code: str) -> None:
    """Turn the second factor off; its owner is told by a letter.

    Raises:
        InvalidCredentials: the password or the code is wrong; that is recorded.
        UserDisabled, TotpNotEnabled, TooManyLogins
    """
    credentials = await proofs.verify_password(pool, hashing, user_id=user_id, password=password)
    async with database.transaction(pool) as connection:
        refusal = await _prove(connection, vault, credentials, code)
        if refusal is None:
            await store.totp.remove_totp(connection, user_id)
            await _keep(connection, user_id, [])
            await actions.audit.record(connection, Audit(Action.TOTP_REMOVED, user_id, user_id))
            await actions.outgoing.tell(connection, vault, user_id, Kind.TOTP_REMOVED)
    if refusal is not None:
        raise refusal
    log.info("totp_removed", user_id=str(user_id))


async def renew_recovery_codes(
    pool: Pool, vault: Vault, hashing: Hashing, *, user_id: UUID, password: str, code: str
) -> list[str]:
    """Other recovery codes; those before open nothing any more, and their owner is told by a letter.

    Raises:
        InvalidCredentials: the password or the code is wrong; that is recorded.
        UserDisabled, TotpNotEnabled, TooManyLogins
    """
    credentials = await proofs.verify_password(pool, hashing, user_id=user_id, password=password)
    codes = rules.totp.new_recovery_codes()
    async with database.transaction(pool) as connection:
        refusal = await _prove(connection, vault, credentials, code)
        if refusal is None:
            await _keep(connection, user_id, codes)
            await actions.audit.record(connection, Audit(Action.RECOVERY_CODES_RENEWED, user_id, user_id))
            await actions.outgoing.tell(connection, vault, user_id, Kind.RECOVERY_CODES_RENEWED)
    if refusal is not None:
        raise refusal
    return codes


def _step_of_proposal(vault: Vault, locked: Locked | None, code: str) -> int | None:
    if locked is None:
        raise UserNotFound
    if locked.is_disabled:
        raise UserDisabled
    if locked.user.totp:
        raise replication.OnceReplicated(TotpAlreadyEnabled())
    if locked.totp_secret_sealed is None:
        raise TotpNotStarted
    return actions.second_factor.find_step(vault, locked, code)


async def _prove(connection: Connection, vault: Vault, credentials: Credentials, code: str) -> Refusal | None:
    locked = await store.accounts.lock_verified_user(connection, credentials)
    if locked is not None and not locked.user.totp:
        return TotpNotEnabled()
    return await actions.second_factor.prove(connection, vault, locked, code, user_id=credentials.user_id)


async def _keep(connection: Connection, user_id: UUID, codes: list[str]) -> None:
    hashes = [rules.totp.hash_recovery_code(user_id, each) for each in codes]
    await store.totp.replace_recovery_codes(connection, user_id, hashes)
