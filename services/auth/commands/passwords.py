"""Passwords: another one, and with it the end of whatever the old one opened."""

from __future__ import annotations

from uuid import UUID

import structlog

from services.auth import actions, store
from services.auth.actions.access import Access
from services.auth.actions.audit import Action, Audit
from services.auth.actions.sessions import Reason, Session
from services.auth.commands import proofs
from services.auth.errors import InvalidCredentials
from services.auth.keyring import Vault
from services.auth.passwords import Hashing
from services.auth.rules.emails import Kind
from services.auth.store.accounts import Credentials
from services.auth.wakeup import Wakeup
from services.chassis import database
from services.chassis.database import Pool
from services.contracts.refusal import Refusal

log = structlog.get_logger()


async def change_password(
    pool: Pool,
    vault: Vault,
    hashing: Hashing,
    wakeup: Wakeup,
    *,
    user_id: UUID,
    current_password: str,
    new_password: str,
    totp: str | None,
    user_agent: str | None,
) -> Session:
    """Give a user another password, end all their sessions and API keys, and open a new one for who changed it: one commit.

    They are told by a letter; one that was to replace the old password is worth nothing any more.

    Raises:
        InvalidCredentials, TotpRequired, UserDisabled, TooManyLogins
    """
    credentials = await proofs.verify_password(pool, hashing, user_id=user_id, password=current_password)
    new_hash = await hashing.hash(new_password)
    changed = await _change(pool, vault, credentials, new_hash=new_hash, totp=totp, user_agent=user_agent)
    if isinstance(changed, Refusal):
        raise changed
    session, ended = changed
    await actions.access.tell_ended(wakeup, user_id, ended, Reason.PASSWORD_CHANGED)
    log.info("password_changed", user_id=str(user_id), sessions_ended=len(ended.session_ids))
    return session


async def _change(
    pool: Pool, vault: Vault, credentials: Credentials, *, new_hash: str, totp: str | None, user_agent: str | None
) -> tuple[Session, Access] | Refusal:
    user_id = credentials.user_id
    async with database.transaction(pool) as connection:
        locked = await store.accounts.lock_verified_user(connection, credentials)
        refusal = await actions.second_factor.prove(connection, vault, locked, totp, user_id=user_id)
        if locked is None or refusal is not None:
            return refusal or InvalidCredentials()
        live = await actions.access.lock(connection, user_id)
        await store.users.update_password(connection, user_id, new_hash)
        # Whoever can read the mailbox must not undo this with a letter from before.
        await store.emails.withdraw_letters(connection, user_id, Kind.RESET_PASSWORD)
        await actions.outgoing.tell(connection, vault, user_id, Kind.PASSWORD_CHANGED)
        detail = {"sessions_ended": str(len(live.session_ids))}
        await actions.audit.record(connection, Audit(Action.PASSWORD_CHANGED, user_id, user_id, detail))
        session = await actions.sessions.open_session(connection, vault, locked.user, user_agent=user_agent)
        await actions.access.revoke(connection, live, Reason.PASSWORD_CHANGED, actor_id=user_id)
    return session, live
