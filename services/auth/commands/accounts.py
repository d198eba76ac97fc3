"""What the auth service can be told: one database transaction per function, and nowhere else.

Passwords are hashed outside: a login reads the credentials, verifies with no connection held, and then opens its session in
a transaction that checks that the password is still the one that was verified.
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
from services.auth.errors import EmailTaken, InvalidCredentials, InvalidRefreshToken, UserNotFound
from services.auth.keyring import Vault
from services.auth.passwords import Hashing
from services.auth.rules.emails import Kind
from services.auth.rules.user import Role, User, normalise_email
from services.auth.store.accounts import Credentials
from services.auth.store.sessions import Revocation
from services.auth.wakeup import Wakeup
from services.chassis import database, replication
from services.chassis.database import Pool
from services.contracts.identifiers import new_id
from services.contracts.refusal import Refusal

REVOCATIONS_SECONDS = tokens.ACCESS_SECONDS + 60.0
"""How long the feed tells of a session or a key: one token lifetime, and the clocks' disagreement."""

REVOCATIONS_MAX = 10_000
"""The longest page of the feed; a reader that gets one full page asks again at once."""

SESSIONS_MAX = 1_000
"""How many sessions of one user go on at a time: all of them can be ended in one quick commit, whatever somebody has opened."""

log = structlog.get_logger()


class Feed(NamedTuple):
    """A page of revocations, the number to continue from, and the Unix time by the clock that dates access tokens."""

    items: list[Revocation]
    following: int
    now: float


class Grant(NamedTuple):
    """What a grant did: to whom, the role before, and how many sessions it ended."""

    user: User
    before: Role
    sessions_ended: int


async def register(
    pool: Pool,
    vault: Vault,
    hashing: Hashing,
    *,
    email: str,
    password: str,
    name: str,
    user_agent: str | None = None,
    place: bytes | None = None,
) -> Session:
    """Make a user and log them in; a letter to their address is on its way. `place` is where from, if known.

    Raises:
        EmailTaken, TooManyLogins
    """
    password_hash = await hashing.hash(password)
    user = User(id=new_id(), email=email, name=name, role=Role.USER)
    async with database.transaction(pool) as connection:
        if not await store.accounts.insert_user(connection, user, password_hash):
            raise replication.OnceReplicated(EmailTaken())
        await actions.audit.record(connection, Audit(Action.USER_REGISTERED, user.id, user.id))
        await actions.outgoing.write_letter(connection, vault, user, Kind.VERIFY_EMAIL)
        await actions.arrivals.note_place(connection, place, user.id)
        session = await actions.sessions.open_session(connection, vault, user, user_agent=user_agent)
    log.info("user_registered", user_id=str(user.id))
    return session


async def log_in(
    pool: Pool,
    vault: Vault,
    hashing: Hashing,
    wakeup: Wakeup,
    *,
    email: str,
    password: str,
    totp: str | None = None,
    user_agent: str | None = None,
    place: bytes | None = None,
) -> Session:
    """Open a session for whoever knows the password, and has the second factor where one is on.

    `place` is where from, if known. Beyond `SESSIONS_MAX` sessions of one user those end that were used longest ago.

    Raises:
        InvalidCredentials: the same, after the same work, whether or not the address is known.
        TotpRequired, UserDisabled: told only to who knows the password.
        TooManyLogins: too many are logging in at this moment.
    """
    credentials = await _find_credentials(pool, email)
    stored = credentials.password_hash if credentials else None
    if not await hashing.verify(stored, password) or credentials is None:
        await _record_failure(pool, credentials)
        raise InvalidCredentials
    renewed = await hashing.hash(password) if hashing.is_behind(credentials.password_hash) else None
    opened = await _log_in_verified(
        pool, vault, credentials, renewed_hash=renewed, totp=totp, user_agent=user_agent, place=place
    )
    if isinstance(opened, Refusal):
        metrics.LOGINS.labels("failed").inc()
        log.info("login_failed", user_id=str(credentials.user_id), reason=opened.code)
        raise opened
    session, crowded_out = opened
    metrics.LOGINS.labels("succeeded").inc()
    log.info("login_succeeded", user_id=str(session.user.id))
    await actions.sessions.tell_ended(wakeup, session.user.id, crowded_out, Reason.CROWDED_OUT)
    return session


async def refresh(pool: Pool, vault: Vault, wakeup: Wakeup, *, refresh_token: str) -> Session:
    """Spend a refresh token for a new pair.

    A token that was spent before ends its whole session, and the API keys that were made in it since then.

    Raises:
        InvalidRefreshToken: unknown, spent or too old, or its session has ended.
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
            return await actions.sessions.renew(connection, vault, session_id, locked.user_id)
        spent_at = await store.sessions.find_refresh_token_spent_at(connection, token_hash)
        if spent_at is not None:
            # Two hold the same token and we cannot tell which is the thief: both have to log in again. Keys that were made in
            # this session since may be the thief's, and would outlive it.
            keys = await store.api_keys.lock_live_api_keys_of_session(
                connection, locked.user_id, session_id, since=spent_at
            )
            ended = Access([session_id], keys)
            detail = {"session_id": str(session_id)}
            await actions.audit.record(connection, Audit(Action.REFRESH_REUSED, None, locked.user_id, detail))
            await actions.access.revoke(connection, ended, Reason.REFRESH_REUSED, actor_id=None)
    await actions.access.tell_ended(wakeup, locked.user_id, ended, Reason.REFRESH_REUSED)
    # Raised only now: the end of the session had to be committed.
    raise InvalidRefreshToken


async def log_out(pool: Pool, wakeup: Wakeup, *, session_id: UUID, user_id: UUID) -> None:
    """End a session of this user. One that is unknown, another's or ended already is left as it is."""
    async with database.transaction(pool) as connection:
        live = await store.sessions.lock_live_session(connection, session_id, user_id)
        if not live:
            await replication.await_replication(connection)
            return
        await actions.audit.record(
            connection, Audit(Action.LOGGED_OUT, user_id, user_id, {"session_id": str(session_id)})
        )
        await actions.sessions.revoke(connection, live, Reason.LOGOUT)
    await actions.sessions.tell_ended(wakeup, user_id, [session_id], Reason.LOGOUT)


async def grant_role(pool: Pool, *, email: str, role: Role) -> Grant:
    """Give a user a role, from the command line. Who loses a role loses the sessions and API keys that carry it.

    Raises:
        UserNotFound: nobody is registered with this address.
        LastOperator: nobody else operates.
    """
    async with database.transaction(pool) as connection:
        await actions.operators.take_turn(connection)
        user = await store.accounts.lock_user_by_email(connection, normalise_email(email) or "")
        if user is None:
            raise UserNotFound
        detail = {"from": user.role.value, "to": role.value, "by": "command line"}
        await actions.audit.record(connection, Audit(Action.ROLE_GRANTED, None, user.id, detail))
        await store.users.update_role(connection, user.id, role)
        if user.role is Role.OPERATOR:
            await actions.operators.keep_one(connection)
        ended = actions.access.NONE
        if user.role not in (role, Role.USER):
            ended = await actions.access.lock(connection, user.id)
            await actions.access.revoke(connection, ended, Reason.ROLE_TAKEN, actor_id=None)
    return Grant(user, user.role, len(ended.session_ids))


async def get_user(pool: Pool, user_id: UUID) -> User:
    """One user.

    Raises:
        UserNotFound
    """
    async with database.connection(pool) as connection:
        user = await store.users.find_user(connection, user_id)
    if user is None:
        raise UserNotFound
    return user


async def find_recipients(pool: Pool, emails: Sequence[str]) -> dict[str, User]:
    """Find the recipients with these addresses, by the address as given. A disabled user is not found.

    That they are registered is replicated: payments to them are accepted because of this result.
    """
    normalised = {email: normalise_email(email) for email in emails}
    wanted = sorted({email for email in normalised.values() if email is not None})
    async with database.connection(pool) as connection:
        found = {user.email: user for user in await store.users.find_recipients_by_email(connection, wanted)}
    if replication.list_unconfirmed([user.id for user in found.values()]):
        found = await _confirm_recipients(pool, wanted)
    return {asked: found[email] for asked, email in normalised.items() if email is not None and email in found}


async def find_users(pool: Pool, user_ids: Sequence[UUID]) -> list[User]:
    """Those of these ids that are users."""
    async with database.connection(pool) as connection:
        return await store.users.find_users_by_id(connection, user_ids)


async def list_revocations(pool: Pool, *, after: int) -> Feed:
    """Sessions and API keys ended after number `after`, as far as something of theirs may still be remembered."""
    async with database.snapshot(pool) as connection:
        last, now = await store.sessions.read_revocation_counter(connection)
        # A reader ahead of us remembers a database that was since restored from a backup: it has to start over.
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
    vault: Vault,
    credentials: Credentials,
    *,
    renewed_hash: str | None,
    totp: str | None,
    user_agent: str | None,
    place: bytes | None,
) -> tuple[Session, list[UUID]] | Refusal:
    async with database.transaction(pool) as connection:
        locked = await store.accounts.lock_verified_user(connection, credentials)
        refusal = await actions.second_factor.judge(connection, vault, locked, totp)
        if locked is None or refusal is not None:
            refusal = refusal or InvalidCredentials()
            detail = {"reason": refusal.code, "password": "right"}
            await actions.audit.record(connection, Audit(Action.LOGIN_FAILED, None, credentials.user_id, detail))
            return refusal
        if renewed_hash is not None:
            await store.accounts.update_password_hash(connection, credentials.user_id, renewed_hash)
        await actions.audit.record(connection, Audit(Action.LOGIN_SUCCEEDED, credentials.user_id, credentials.user_id))
        await actions.arrivals.note_place(connection, place, credentials.user_id)
        crowded_out = await store.sessions.lock_sessions_beyond(connection, credentials.user_id, SESSIONS_MAX - 1)
        session = await actions.sessions.open_session(connection, vault, locked.user, user_agent=user_agent)
        await actions.sessions.revoke(connection, crowded_out, Reason.CROWDED_OUT)
        return session, crowded_out


async def _record_failure(pool: Pool, credentials: Credentials | None) -> None:
    # Who was aimed at; the address that was typed is not kept, people type passwords there.
    user_id = credentials.user_id if credentials else None
    async with database.transaction(pool) as connection:
        await actions.audit.record(connection, Audit(Action.LOGIN_FAILED, None, user_id))
    metrics.LOGINS.labels("failed").inc()
    log.info("login_failed", user_id=str(user_id) if user_id else None)
