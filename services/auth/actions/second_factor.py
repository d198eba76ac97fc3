"""The second factor inside somebody's transaction: whether who knows the password may come in."""

from __future__ import annotations

from uuid import UUID

from services.auth import rules, store
from services.auth.actions import audit, outgoing
from services.auth.actions.audit import Action, Audit
from services.auth.errors import InvalidCredentials, TotpRequired, UserDisabled
from services.auth.keyring import Vault
from services.auth.rules.emails import Kind
from services.auth.store.accounts import Locked
from services.chassis.database import Connection
from services.contracts.refusal import Refusal


async def judge(connection: Connection, vault: Vault, locked: Locked | None, code: str | None) -> Refusal | None:
    """Why this user, whose password was verified, may not come in; None when they may.

    A code is spent by this. The refusal is returned, not raised: what is written about it has to be committed first.
    """
    if locked is None:
        return InvalidCredentials()
    if locked.is_disabled:
        return UserDisabled()
    if not locked.user.totp or locked.totp_secret_sealed is None:
        return None
    if code is None:
        return TotpRequired()
    return None if await _spend(connection, vault, locked, code) else InvalidCredentials()


async def prove(
    connection: Connection, vault: Vault, locked: Locked | None, code: str | None, *, user_id: UUID
) -> Refusal | None:
    """As `judge`, of somebody who is logged in already: a refusal is recorded as theirs."""
    refusal = await judge(connection, vault, locked, code)
    if refusal is not None:
        await audit.record(connection, Audit(Action.PROOF_FAILED, user_id, user_id, {"reason": refusal.code}))
    return refusal


def find_step(vault: Vault, locked: Locked, code: str) -> int | None:
    """The time step of a code of this user, by the database's clock; None when it is no code of theirs."""
    if locked.totp_secret_sealed is None:
        return None
    secret = vault.open_factor(locked.totp_secret_sealed, locked.user.id)
    return rules.totp.find_step(secret, code, now=locked.now)


async def _spend(connection: Connection, vault: Vault, locked: Locked, code: str) -> bool:
    step = find_step(vault, locked, code)
    if step is not None:
        return await store.totp.spend_totp_step(connection, locked.user.id, step)
    code_hash = rules.totp.hash_recovery_code(locked.user.id, code)
    if not await store.totp.spend_recovery_code(connection, locked.user.id, code_hash):
        return False
    await audit.record(connection, Audit(Action.RECOVERY_CODE_USED, locked.user.id, locked.user.id))
    left = await store.totp.count_recovery_codes(connection, locked.user.id)
    await outgoing.tell(connection, vault, locked.user.id, Kind.RECOVERY_CODE_USED, detail=str(left))
    return True
