"""Registration, login and logout; roles by the command line; look-ups of users; the feed of revocations.

Passwords are hashed outside of transactions: a login reads the credentials, verifies the password without a database connection,
and then opens the session in a transaction that checks that the password has not changed since.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import structlog

from services.auth import actions, metrics, store, tokens
from services.auth.actions.access import Access
from services.auth.actions.audit import Action, Audit
from services.auth.actions.sessions import Reason, Session
from services.auth.keyring import Keyring
from services.auth.passwords import Hashing
from services.auth.rules.emails import Kind
from services.auth.rules.user import Role, User, normalise_email
from services.auth.store.accounts import Credentials
from services.auth.store.sessions import Revocation
from services.auth.wakeup import Wakeup
from services.chassis import database, replication
from services.chassis.database import Pool
from services.contracts import limits
from services.contracts.identifiers import new_id
from services.contracts.refusal import Refusal
from services.contracts.refusals.auth import EmailTaken, InvalidCredentials, InvalidRefreshToken, UserNotFound

REVOCATIONS_SECONDS = limits.ACCESS_TOKEN_SECONDS + 60.0
"""How long the feed lists a revocation: the lifetime of an access token, plus clock skew."""

REVOCATIONS_MAX = 10_000
"""The longest page of the feed; a reader that gets a full page requests the next one at once."""

SESSIONS_MAX = 1_000
"""Live sessions of one user; a bound, so that one short commit can revoke all of them."""

log = structlog.get_logger()


class Feed(NamedTuple):
    """A page of revocations, the number to continue after, and the Unix time by the clock that dates access tokens."""

    items: list[Revocation]
    following: int
    now: float


class Grant(NamedTuple):
    """Result of a grant: the user, the role before, and how many sessions were ended."""

    user: User
    before: Role
    sessions_ended: int


async def register(
    pool: Pool,
    keyring: Keyring,
    hashing: Hashing,
    *,
    email: str,
    password: str,
    name: str,
    user_agent: str | None = None,
    location: bytes | None = None,
) -> Session:
    """Register a user, log them in, and queue an e-mail to verify their address. `location` is None if unknown.

    Raises:
        EmailTaken, TooManyLogins
    """
    password_hash = await hashing.hash(password)
    user = User(id=new_id(), email=email, name=name, role=Role.USER)
    async with database.transaction(pool) as connection:
        if not await store.accounts.insert_user(connection, user, password_hash):
            raise replication.OnceReplicated(EmailTaken())
        await actions.audit.record(connection, Audit(Action.USER_REGISTERED, user.id, user.id))
        await actions.outgoing.queue_email(connection, keyring, user, kind=Kind.VERIFY_EMAIL)
        await actions.arrivals.record_location(connection, location, user.id)
        session = await actions.sessions.open_session(connection, keyring, user, user_agent=user_agent)
    log.info("user_registered", user_id=str(user.id))
    return session


async def log_in(
    pool: Pool,
    keyring: Keyring,
    hashing: Hashing,
    *,
    wakeup: Wakeup,
    email: str,
    password: str,
    totp: str | None = None,
    user_agent: str | None = None,
    location: bytes | None = None,
) -> Session:
    """Log in with a password, and with a second factor if it is enabled.

    `location` is None if unknown. Above `SESSIONS_MAX` sessions of one user, the least recently used ones end.

    Raises:
        InvalidCredentials: raised after the same work whether or not the address is registered.
        TotpRequired, UserDisabled: only if the password is correct.
        TooManyLogins: too many logins at the same time.
    """
    credentials = await _find_credentials(pool, email)
    stored = credentials.password_hash if credentials else None
    if not await hashing.verify(stored, password) or credentials is None:
        await _record_failure(pool, credentials)
        raise InvalidCredentials
    renewed = await hashing.hash(password) if hashing.is_behind(credentials.password_hash) else None
    opened = await _log_in_verified(
        pool, keyring, credentials, renewed_hash=renewed, totp=totp, user_agent=user_agent, location=location
    )
    if isinstance(opened, Refusal):
        metrics.LOGINS.labels("failed").inc()
        log.info("login_failed", user_id=str(credentials.user_id), reason=opened.code)
        raise opened
    session, excess = opened
    metrics.LOGINS.labels("succeeded").inc()
    log.info("login_succeeded", user_id=str(session.user.id))
    await actions.sessions.announce_revocation(wakeup, session.user.id, excess, reason=Reason.SESSION_LIMIT)
    return session


async def refresh(pool: Pool, keyring: Keyring, wakeup: Wakeup, *, refresh_token: str) -> Session:
    """Exchange a refresh token for a new pair of tokens.

    A token that was spent before ends its session and revokes the API keys that were created in the session since then.

    Raises:
        InvalidRefreshToken: it is unknown, spent or expired, or its session has ended.
    """
    token_hash = tokens.hash_refresh(refresh_token)
    ended = actions.access.NONE
    async with database.transaction(pool) as connection:
        session_id = await store.sessions.find_refresh_session(connection, token_hash)
        if session_id is None:
            raise InvalidRefreshToken
        locked = await store.sessions.lock_session(connection, session_id)
        if locked.revoked:
            raise replication.OnceReplicated(InvalidRefreshToken())
        if await store.sessions.spend_refresh_token(connection, token_hash):
            return await actions.sessions.renew(connection, keyring, session_id, user_id=locked.user_id)
        spent_at = await store.sessions.find_refresh_token_spent_at(connection, token_hash)
        if spent_at is not None:
            # Two clients have the same token, and either may be the attacker: both have to log in again. API keys that were
            # created in this session since then may belong to the attacker and would outlive the session.
            keys = await store.api_keys.lock_live_api_keys_of_session(
                connection, locked.user_id, session_id, since=spent_at
            )
            ended = Access([session_id], keys)
            detail = {"session_id": str(session_id)}
            await actions.audit.record(connection, Audit(Action.REFRESH_REUSED, None, locked.user_id, detail))
            await actions.access.revoke(connection, ended, Reason.REFRESH_REUSED, actor_id=None)
    await actions.access.announce_revocation(wakeup, locked.user_id, ended, reason=Reason.REFRESH_REUSED)
    # Raised after the commit, which ends the session.
    raise InvalidRefreshToken


async def log_out(pool: Pool, wakeup: Wakeup, *, session_id: UUID, user_id: UUID) -> None:
    """End a session of this user. Do nothing if it is unknown, belongs to another user, or has ended."""
    async with database.transaction(pool) as connection:
        live = await store.sessions.lock_live_session(connection, session_id, user_id)
        if not live:
            await replication.await_replication(connection)
            return
        await actions.audit.record(
            connection, Audit(Action.LOGGED_OUT, user_id, user_id, {"session_id": str(session_id)})
        )
        await actions.sessions.revoke(connection, live, Reason.LOGOUT)
    await actions.sessions.announce_revocation(wakeup, user_id, [session_id], reason=Reason.LOGOUT)


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


async def list_revocations(pool: Pool, *, after: int) -> Feed:
    """List sessions and API keys revoked after number `after`, while an access token or a cached key may still be valid."""
    async with database.snapshot(pool) as connection:
        last, now = await store.sessions.read_revocation_counter(connection)
        # A reader that is ahead has seen a database that was since restored from a backup: it starts over.
        start = after if after <= last else 0
        items = await store.sessions.list_revocations(
            connection, after=start, age_seconds_max=REVOCATIONS_SECONDS, limit=REVOCATIONS_MAX
        )
    return Feed(items, items[-1].seq if len(items) == REVOCATIONS_MAX else last, now)


async def _confirm_recipients(pool: Pool, emails: Sequence[str]) -> dict[str, User]:
    async with database.transaction(pool) as connection:
        found = {user.email: user for user in await store.users.find_recipients_by_email(connection, emails)}
        await replication.await_replication(connection)
    replication.confirm([user.id for user in found.values()])
    return found


async def _find_credentials(pool: Pool, email: str) -> Credentials | None:
    async with database.connection(pool) as connection:
        return await store.accounts.find_credentials(connection, email)


async def _log_in_verified(
    pool: Pool,
    keyring: Keyring,
    credentials: Credentials,
    *,
    renewed_hash: str | None,
    totp: str | None,
    user_agent: str | None,
    location: bytes | None,
) -> tuple[Session, list[UUID]] | Refusal:
    async with database.transaction(pool) as connection:
        locked = await store.accounts.lock_verified_user(connection, credentials)
        refusal = await actions.second_factor.check(connection, keyring, locked, code=totp)
        if locked is None or refusal is not None:
            refusal = refusal or InvalidCredentials()
            detail = {"reason": refusal.code, "password": "right"}
            await actions.audit.record(connection, Audit(Action.LOGIN_FAILED, None, credentials.user_id, detail))
            return refusal
        if renewed_hash is not None:
            await store.accounts.update_password_hash(connection, credentials.user_id, renewed_hash)
        await actions.audit.record(connection, Audit(Action.LOGIN_SUCCEEDED, credentials.user_id, credentials.user_id))
        await actions.arrivals.record_location(connection, location, credentials.user_id)
        excess = await store.sessions.lock_sessions_beyond(connection, credentials.user_id, SESSIONS_MAX - 1)
        session = await actions.sessions.open_session(connection, keyring, locked.user, user_agent=user_agent)
        await actions.sessions.revoke(connection, excess, Reason.SESSION_LIMIT)
        return session, excess


async def _record_failure(pool: Pool, credentials: Credentials | None) -> None:
    # The entered address is not recorded: users enter passwords there by mistake.
    user_id = credentials.user_id if credentials else None
    async with database.transaction(pool) as connection:
        await actions.audit.record(connection, Audit(Action.LOGIN_FAILED, None, user_id))
    metrics.LOGINS.labels("failed").inc()
    log.info("login_failed", user_id=str(user_id) if user_id else None)
