"""Registration and login.

Passwords are hashed outside of transactions: a login reads the credentials, verifies the password without a database connection,
and then opens the session in a transaction that checks that the password has not changed since.
"""

from __future__ import annotations

from uuid import UUID

import structlog

from services.auth import actions, metrics, store
from services.auth.actions.audit import Action, Audit
from services.auth.actions.sessions import Reason, Session
from services.auth.keyring import Keyring
from services.auth.passwords import Hashing
from services.auth.rules.emails import Kind
from services.auth.rules.probes import Probes
from services.auth.rules.user import Role, User
from services.auth.store.accounts import Credentials
from services.auth.wakeup import Wakeup
from services.chassis import database, replication
from services.chassis.body import InvalidParameter
from services.chassis.database import Pool
from services.contracts.identifiers import new_id
from services.contracts.refusal import Refusal
from services.contracts.refusals.auth import EmailTaken, InvalidCredentials

SESSIONS_MAX = 1_000
"""Live sessions of one user; a bound, so that one short commit can revoke all of them."""

log = structlog.get_logger()


async def register(
    pool: Pool,
    keyring: Keyring,
    hashing: Hashing,
    *,
    probes: Probes,
    email: str,
    password: str,
    name: str,
    user_agent: str | None = None,
    location: bytes | None = None,
) -> Session:
    """Register a user, log them in, and queue an e-mail to verify their address. `location` is None if unknown.

    Raises:
        InvalidParameter: the address is in a domain that is reserved for the canary.
        EmailTaken, TooManyLogins
    """
    if not probes.may_register(email, password):
        raise InvalidParameter("email", "is in the domain `invalid`, which no e-mail can reach")
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
