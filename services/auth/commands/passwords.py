"""Change a password, which revokes all access that was granted with the old one."""

from __future__ import annotations

from uuid import UUID

import structlog

from services.auth import actions, store
from services.auth.actions.access import Access
from services.auth.actions.audit import Action, Audit
from services.auth.actions.sessions import Reason, Session
from services.auth.commands import proofs
from services.auth.keyring import Keyring
from services.auth.passwords import Hashing
from services.auth.rules.emails import Kind
from services.auth.store.accounts import Credentials
from services.auth.wakeup import Wakeup
from services.chassis import database
from services.chassis.database import Pool
from services.contracts.refusal import Refusal
from services.contracts.refusals.auth import InvalidCredentials

log = structlog.get_logger()


async def change_password(
    pool: Pool,
    keyring: Keyring,
    hashing: Hashing,
    *,
    wakeup: Wakeup,
    user_id: UUID,
    current_password: str,
    new_password: str,
    totp: str | None,
    user_agent: str | None,
) -> Session:
    """Change a password, revoke all sessions and API keys of the user, and open a new session, in one commit.

    The user is notified by e-mail, and a pending reset token becomes invalid.

    Raises:
        InvalidCredentials, TotpRequired, UserDisabled, TooManyLogins
    """
    credentials = await proofs.verify_password(pool, hashing, user_id=user_id, password=current_password)
    new_hash = await hashing.hash(new_password)
    changed = await _change(pool, keyring, credentials, new_hash=new_hash, totp=totp, user_agent=user_agent)
    if isinstance(changed, Refusal):
        raise changed
    session, ended = changed
    await actions.access.announce_revocation(wakeup, user_id, ended, reason=Reason.PASSWORD_CHANGED)
    log.info("password_changed", user_id=str(user_id), sessions_ended=len(ended.session_ids))
    return session


async def _change(
    pool: Pool, keyring: Keyring, credentials: Credentials, *, new_hash: str, totp: str | None, user_agent: str | None
) -> tuple[Session, Access] | Refusal:
    user_id = credentials.user_id
    async with database.transaction(pool) as connection:
        locked = await store.accounts.lock_verified_user(connection, credentials)
        refusal = await actions.second_factor.prove(connection, keyring, locked, code=totp, user_id=user_id)
        if locked is None or refusal is not None:
            return refusal or InvalidCredentials()
        live = await actions.access.lock(connection, user_id)
        await store.users.update_password(connection, user_id, new_hash)
        # An attacker with access to the mailbox must not undo the change with an earlier reset e-mail.
        await store.emails.withdraw_emails(connection, user_id, Kind.RESET_PASSWORD)
        await actions.outgoing.queue_security_email(connection, keyring, user_id, kind=Kind.PASSWORD_CHANGED)
        detail = {"sessions_ended": str(len(live.session_ids))}
        await actions.audit.record(connection, Audit(Action.PASSWORD_CHANGED, user_id, user_id, detail))
        session = await actions.sessions.open_session(connection, keyring, locked.user, user_agent=user_agent)
        await actions.access.revoke(connection, live, Reason.PASSWORD_CHANGED, actor_id=user_id)
    return session, live
