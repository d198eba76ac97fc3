"""Check the second factor in the caller's transaction, after the password was verified."""

from __future__ import annotations

from uuid import UUID

from services.auth import rules, store
from services.auth.actions import audit, outgoing
from services.auth.actions.audit import Action, Audit
from services.auth.keyring import Keyring
from services.auth.rules.emails import Kind
from services.auth.store.accounts import Locked
from services.chassis.database import Connection
from services.contracts.refusal import Refusal
from services.contracts.refusals.auth import InvalidCredentials, TotpRequired, UserDisabled


async def check(connection: Connection, keyring: Keyring, locked: Locked | None, *, code: str | None) -> Refusal | None:
    """Why this user, whose password was verified, cannot log in; None if they can. It spends the code.

    The refusal is returned, not raised, so that the caller can commit what it records about it.
    """
    if locked is None:
        return InvalidCredentials()
    if locked.is_disabled:
        return UserDisabled()
    if not locked.user.totp or locked.totp_secret_sealed is None:
        return None
    if code is None:
        return TotpRequired()
    return None if await _spend(connection, keyring, locked, code=code) else InvalidCredentials()


async def prove(
    connection: Connection, keyring: Keyring, locked: Locked | None, *, code: str | None, user_id: UUID
) -> Refusal | None:
    """Like `check`, for a user who is logged in; a refusal is recorded in the audit log."""
    refusal = await check(connection, keyring, locked, code=code)
    if refusal is not None:
        await audit.record(connection, Audit(Action.PROOF_FAILED, user_id, user_id, {"reason": refusal.code}))
    return refusal


def find_step(keyring: Keyring, locked: Locked, code: str) -> int | None:
    """The time step of a code of this user, by the clock of the database; None if the code is wrong."""
    if locked.totp_secret_sealed is None:
        return None
    secret = keyring.open_factor(locked.totp_secret_sealed, locked.user.id)
    return rules.totp.find_step(secret, code, now=locked.now)


async def _spend(connection: Connection, keyring: Keyring, locked: Locked, *, code: str) -> bool:
    step = find_step(keyring, locked, code)
    if step is not None:
        return await store.totp.spend_totp_step(connection, locked.user.id, step)
    code_hash = rules.totp.hash_recovery_code(locked.user.id, code)
    if not await store.totp.spend_recovery_code(connection, locked.user.id, code_hash):
        return False
    await audit.record(connection, Audit(Action.RECOVERY_CODE_USED, locked.user.id, locked.user.id))
    left = await store.totp.count_recovery_codes(connection, locked.user.id)
    await outgoing.queue_security_email(
        connection, keyring, locked.user.id, kind=Kind.RECOVERY_CODE_USED, detail=str(left)
    )
    return True
