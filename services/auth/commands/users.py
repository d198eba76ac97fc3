"""Users: look them up; and as an operator, set the role, disable, enable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import structlog

from services.auth import actions, store
from services.auth.actions.access import Access
from services.auth.actions.audit import Action, Audit
from services.auth.actions.sessions import Reason
from services.auth.rules.emails import Kind
from services.auth.rules.user import Role, User, normalise_email
from services.auth.store.accounts import Locked
from services.auth.store.users import Account
from services.auth.wakeup import Wakeup
from services.chassis import database, replication
from services.chassis.database import Connection, Pool
from services.contracts.refusals.auth import CannotModifySelf, OperatorRequired, UserNotFound

log = structlog.get_logger()


class Grant(NamedTuple):
    """Result of a grant: the user, the role before, and how many sessions were ended."""

    user: User
    before: Role
    sessions_ended: int


async def find_account(pool: Pool, *, email: str) -> Account:
    """Find the account with this address.

    Raises:
        UserNotFound
    """
    async with database.connection(pool) as connection:
        account = await store.users.find_account_by_email(connection, normalise_email(email) or "")
    if account is None:
        raise UserNotFound
    return account


async def set_role(pool: Pool, wakeup: Wakeup, *, user_id: UUID, role: Role, operator_id: UUID) -> Account:
    """Set the role of a user. A user who loses a role loses all sessions and API keys.

    Setting the current role changes nothing.

    Raises:
        UserNotFound
        OperatorRequired: the caller is no longer an operator.
        CannotModifySelf: operators cannot remove their own role.
        LastOperator: there is no other operator.
    """
    ended = actions.access.NONE
    async with database.transaction(pool) as connection:
        await actions.operators.lock(connection)
        before = (await _lock(connection, user_id, operator_id)).user.role
        if before is not role:
            _require_other_user(user_id, operator_id)
            detail = {"from": before.value, "to": role.value, "by": "operator"}
            await actions.audit.record(connection, Audit(Action.ROLE_GRANTED, operator_id, user_id, detail))
            await store.users.update_role(connection, user_id, role)
            if before is Role.OPERATOR:
                await actions.operators.require_one(connection)
            if before is not Role.USER:
                ended = await _end_all(connection, user_id, Reason.ROLE_REMOVED, operator_id=operator_id)
        account = await store.users.get_account(connection, user_id)
    await actions.access.announce_revocation(wakeup, user_id, ended, reason=Reason.ROLE_REMOVED)
    return account


async def disable_user(pool: Pool, wakeup: Wakeup, *, user_id: UUID, reason: str, operator_id: UUID) -> Account:
    """Disable a user and revoke all their sessions and API keys, in one commit. Disabling twice changes nothing.

    Raises:
        UserNotFound
        OperatorRequired: the caller is no longer an operator.
        CannotModifySelf: operators cannot disable themselves.
        LastOperator: there is no other operator.
    """
    ended = actions.access.NONE
    async with database.transaction(pool) as connection:
        await actions.operators.lock(connection)
        locked = await _lock(connection, user_id, operator_id)
        _require_other_user(user_id, operator_id)
        if not locked.is_disabled:
            await store.users.disable_user(connection, user_id, reason)
            if locked.user.role is Role.OPERATOR:
                await actions.operators.require_one(connection)
            detail = {"reason": reason}
            await actions.audit.record(connection, Audit(Action.USER_DISABLED, operator_id, user_id, detail))
            await store.emails.withdraw_emails(connection, user_id, Kind.RESET_PASSWORD)
            ended = await _end_all(connection, user_id, Reason.USER_DISABLED, operator_id=operator_id)
        account = await store.users.get_account(connection, user_id)
    await actions.access.announce_revocation(wakeup, user_id, ended, reason=Reason.USER_DISABLED)
    log.info("user_disabled", user_id=str(user_id), operator_id=str(operator_id))
    return account


async def enable_user(pool: Pool, *, user_id: UUID, operator_id: UUID) -> Account:
    """Enable a user again; revoked sessions and API keys stay revoked.

    Raises:
        UserNotFound
        OperatorRequired: the caller is no longer an operator.
    """
    async with database.transaction(pool) as connection:
        if (await _lock(connection, user_id, operator_id)).is_disabled:
            await store.users.enable_user(connection, user_id)
            await actions.audit.record(connection, Audit(Action.USER_ENABLED, operator_id, user_id))
        account = await store.users.get_account(connection, user_id)
    log.info("user_enabled", user_id=str(user_id), operator_id=str(operator_id))
    return account


async def grant_role(pool: Pool, *, email: str, role: Role) -> Grant:
    """Set the role of a user, from the command line. A user who loses a role loses all sessions and API keys.

    Raises:
        UserNotFound: no user is registered with this address.
        LastOperator: there is no other operator.
    """
    async with database.transaction(pool) as connection:
        await actions.operators.lock(connection)
        user = await store.accounts.lock_user_by_email(connection, normalise_email(email) or "")
        if user is None:
            raise UserNotFound
        detail = {"from": user.role.value, "to": role.value, "by": "command line"}
        await actions.audit.record(connection, Audit(Action.ROLE_GRANTED, None, user.id, detail))
        await store.users.update_role(connection, user.id, role)
        if user.role is Role.OPERATOR:
            await actions.operators.require_one(connection)
        ended = actions.access.NONE
        if user.role not in (role, Role.USER):
            ended = await actions.access.lock(connection, user.id)
            await actions.access.revoke(connection, ended, Reason.ROLE_REMOVED, actor_id=None)
    return Grant(user, user.role, len(ended.session_ids))


async def get_user(pool: Pool, user_id: UUID) -> User:
    """Get a user.

    Raises:
        UserNotFound
    """
    async with database.connection(pool) as connection:
        user = await store.users.find_user(connection, user_id)
    if user is None:
        raise UserNotFound
    return user


async def find_recipients(pool: Pool, emails: Sequence[str]) -> dict[str, User]:
    """Find recipients by e-mail address; keys of the result are the addresses as given. Disabled users are not found.

    The registration of each one is replicated before this returns: payments to them are accepted because of this result.
    """
    normalised = {email: normalise_email(email) for email in emails}
    wanted = sorted({email for email in normalised.values() if email is not None})
    async with database.connection(pool) as connection:
        found = {user.email: user for user in await store.users.find_recipients_by_email(connection, wanted)}
    if replication.list_unconfirmed([user.id for user in found.values()]):
        found = await _confirm_recipients(pool, wanted)
    return {given: found[email] for given, email in normalised.items() if email is not None and email in found}


async def find_users(pool: Pool, user_ids: Sequence[UUID]) -> list[User]:
    """Find users by id; unknown ids are left out."""
    async with database.connection(pool) as connection:
        return await store.users.find_users_by_id(connection, user_ids)


async def _lock(connection: Connection, user_id: UUID, operator_id: UUID) -> Locked:
    locked = await store.accounts.lock_user(connection, user_id)
    # The gateway may not know yet: for that second, a former operator must not be able to promote another user.
    if await store.users.is_former_operator(connection, operator_id):
        raise OperatorRequired
    if locked is None:
        raise UserNotFound
    return locked


def _require_other_user(user_id: UUID, operator_id: UUID) -> None:
    if user_id == operator_id:
        raise CannotModifySelf


async def _end_all(connection: Connection, user_id: UUID, reason: Reason, *, operator_id: UUID) -> Access:
    live = await actions.access.lock(connection, user_id)
    await actions.access.revoke(connection, live, reason, actor_id=operator_id)
    return live


async def _confirm_recipients(pool: Pool, emails: Sequence[str]) -> dict[str, User]:
    async with database.transaction(pool) as connection:
        found = {user.email: user for user in await store.users.find_recipients_by_email(connection, emails)}
        await replication.await_replication(connection)
    replication.confirm([user.id for user in found.values()])
    return found
