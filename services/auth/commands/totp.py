"""The second factor of a user: start, confirm with a first code, remove; and recovery codes."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

import structlog

from services.auth import actions, rules, store
from services.auth.actions.audit import Action, Audit
from services.auth.commands import proofs
from services.auth.keyring import Keyring
from services.auth.passwords import Hashing
from services.auth.rules.emails import Kind
from services.auth.store.accounts import Credentials, Locked
from services.chassis import database, replication
from services.chassis.database import Connection, Pool
from services.contracts.refusal import Refusal
from services.contracts.refusals.auth import (
    InvalidCredentials,
    TotpAlreadyEnabled,
    TotpNotEnabled,
    TotpNotStarted,
    UserDisabled,
    UserNotFound,
)

log = structlog.get_logger()


class Proposal(NamedTuple):
    """A secret for an authenticator app: as text, and as the URI of a QR code."""

    secret: str
    uri: str


async def start_totp(pool: Pool, keyring: Keyring, hashing: Hashing, *, user_id: UUID, password: str) -> Proposal:
    """Start to set up a second factor. It is enabled only once confirmed; starting again replaces the secret.

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
        await store.totp.propose_totp(connection, user_id, keyring.seal_factor(secret, user_id))
        await actions.audit.record(connection, Audit(Action.TOTP_STARTED, user_id, user_id))
    return Proposal(rules.totp.secret_text(secret), rules.totp.provisioning_uri(secret, locked.user.email))


async def confirm_totp(pool: Pool, keyring: Keyring, *, user_id: UUID, code: str) -> list[str]:
    """Enable the second factor; return the recovery codes, which cannot be shown again.

    Raises:
        InvalidCredentials: the code is wrong; the failure is recorded.
        UserDisabled, TotpNotStarted, TotpAlreadyEnabled
    """
    codes = rules.totp.new_recovery_codes()
    async with database.transaction(pool) as connection:
        locked = await store.accounts.lock_user(connection, user_id)
        step = _step_of_proposal(keyring, locked, code)
        if step is None:
            await actions.audit.record(connection, Audit(Action.PROOF_FAILED, user_id, user_id))
        else:
            await store.totp.confirm_totp(connection, user_id, step)
            await _replace_recovery_codes(connection, user_id, codes)
            await actions.audit.record(connection, Audit(Action.TOTP_CONFIRMED, user_id, user_id))
    if step is None:
        # Raised after the commit, which records the failure.
        raise InvalidCredentials
    log.info("totp_confirmed", user_id=str(user_id))
    return codes


async def remove_totp(
    pool: Pool, keyring: Keyring, hashing: Hashing, *, user_id: UUID, password: str, code: str
) -> None:
    """Disable the second factor and notify the user by e-mail.

    Raises:
        InvalidCredentials: the password or the code is wrong; the failure is recorded.
        UserDisabled, TotpNotEnabled, TooManyLogins
    """
    credentials = await proofs.verify_password(pool, hashing, user_id=user_id, password=password)
    async with database.transaction(pool) as connection:
        refusal = await _prove(connection, keyring, credentials, code=code)
        if refusal is None:
            await store.totp.remove_totp(connection, user_id)
            await _replace_recovery_codes(connection, user_id, [])
            await actions.audit.record(connection, Audit(Action.TOTP_REMOVED, user_id, user_id))
            await actions.outgoing.queue_security_email(connection, keyring, user_id, kind=Kind.TOTP_REMOVED)
    if refusal is not None:
        raise refusal
    log.info("totp_removed", user_id=str(user_id))


async def renew_recovery_codes(
    pool: Pool, keyring: Keyring, hashing: Hashing, *, user_id: UUID, password: str, code: str
) -> list[str]:
    """Replace the recovery codes, which invalidates the old ones, and notify the user by e-mail.

    Raises:
        InvalidCredentials: the password or the code is wrong; the failure is recorded.
        UserDisabled, TotpNotEnabled, TooManyLogins
    """
    credentials = await proofs.verify_password(pool, hashing, user_id=user_id, password=password)
    codes = rules.totp.new_recovery_codes()
    async with database.transaction(pool) as connection:
        refusal = await _prove(connection, keyring, credentials, code=code)
        if refusal is None:
            await _replace_recovery_codes(connection, user_id, codes)
            await actions.audit.record(connection, Audit(Action.RECOVERY_CODES_RENEWED, user_id, user_id))
            await actions.outgoing.queue_security_email(connection, keyring, user_id, kind=Kind.RECOVERY_CODES_RENEWED)
    if refusal is not None:
        raise refusal
    return codes


def _step_of_proposal(keyring: Keyring, locked: Locked | None, code: str) -> int | None:
    if locked is None:
        raise UserNotFound
    if locked.is_disabled:
        raise UserDisabled
    if locked.user.totp:
        raise replication.OnceReplicated(TotpAlreadyEnabled())
    if locked.totp_secret_sealed is None:
        raise TotpNotStarted
    return actions.second_factor.find_step(keyring, locked, code)


async def _prove(connection: Connection, keyring: Keyring, credentials: Credentials, *, code: str) -> Refusal | None:
    locked = await store.accounts.lock_verified_user(connection, credentials)
    if locked is not None and not locked.user.totp:
        return TotpNotEnabled()
    return await actions.second_factor.prove(connection, keyring, locked, code=code, user_id=credentials.user_id)


async def _replace_recovery_codes(connection: Connection, user_id: UUID, codes: list[str]) -> None:
    hashes = [rules.totp.hash_recovery_code(user_id, each) for each in codes]
    await store.totp.replace_recovery_codes(connection, user_id, hashes)
