"""Guarantee 33b: the auth service: results that depend on rows found are returned only when these are replicated."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from services.auth import commands
from services.auth.actions.sessions import Session
from services.auth.keyring import Keyring
from services.auth.passwords import Hashing
from services.auth.rules.probes import Probes
from services.auth.rules.user import Role
from services.auth.tokens import hash_refresh
from services.auth.wakeup import Wakeup
from services.chassis.database import Pool
from services.contracts.api_keys import Scope
from services.contracts.identifiers import new_id
from services.contracts.refusals.auth import (
    ApiKeyNotFound,
    EmailTaken,
    EmailTokenInvalid,
    EmailVerified,
    InvalidCredentials,
    InvalidRefreshToken,
    SessionNotFound,
    TotpAlreadyEnabled,
)
from tests.harness.standby import Pair
from tests.integration.auth.test_totp import Authenticator

WAKEUP = Wakeup(None)
PASSWORD = "correct horse"


class Auth:
    """The commands of the service, as they are sent by one user with one e-mail address."""

    def __init__(self, pool: Pool, keyring: Keyring, hashing: Hashing) -> None:
        self.pool, self.keyring, self.hashing = pool, keyring, hashing
        self.email = f"{new_id()}@example.com"

    async def register(self) -> Session:
        return await commands.accounts.register(
            self.pool,
            self.keyring,
            self.hashing,
            probes=Probes(None),
            email=self.email,
            password=PASSWORD,
            name="Alice",
        )

    async def session_id(self, session: Session) -> UUID:
        token_hash = hash_refresh(session.pair.refresh_token)
        return await self.pool.fetchval("SELECT session_id FROM refresh_tokens WHERE hash = $1", token_hash)

    async def refresh(self, session: Session) -> Session:
        return await commands.sessions.refresh(
            self.pool, self.keyring, WAKEUP, refresh_token=session.pair.refresh_token
        )

    async def token(self) -> str:
        """The token of the newest e-mail to the user."""
        claimed = await commands.emails.claim_emails(self.pool, self.keyring, limit=1000, lease_seconds=1)
        return next(email.token for email in reversed(claimed) if email.email == self.email and email.token)

    async def forget(self) -> None:
        await commands.emails.request_password_reset(self.pool, self.keyring, email=self.email)

    async def reset(self, token: str) -> Any:
        return await commands.emails.reset_password(
            self.pool, self.keyring, self.hashing, wakeup=WAKEUP, token=token, new_password="a better password"
        )

    async def confirm_totp(self, user_id: UUID, code: str) -> Any:
        return await commands.totp.confirm_totp(self.pool, self.keyring, user_id=user_id, code=code)

    async def start_totp(self, user_id: UUID) -> Authenticator:
        proposal = await commands.totp.start_totp(
            self.pool, self.keyring, self.hashing, user_id=user_id, password=PASSWORD
        )
        return Authenticator(proposal.uri)


@pytest.fixture
def service() -> str:
    return "auth"


@pytest.fixture
def auth(pool: Pool, keyring: Keyring, hashing: Hashing) -> Auth:
    return Auth(pool, keyring, hashing)


async def test_registered_before(pair: Pair, auth: Auth) -> None:
    """That an e-mail address is taken is said once its user is replicated."""
    await pair.leave_unknown(auth.register)
    with pytest.raises(EmailTaken):
        await pair.after_replication(auth.register)


async def test_recipient_found(pair: Pair, auth: Auth) -> None:
    """Money is accepted for a user once they are replicated; from then on a look-up is a plain read."""

    async def find() -> Any:
        return await commands.users.find_recipients(auth.pool, [auth.email])

    await pair.leave_unknown(auth.register)
    found = await pair.after_replication(find)
    await pair.lose_standby()
    assert (found, [auth.email]) == (await find(), list(found))


async def test_login_after_registering(pair: Pair, auth: Auth) -> None:
    """A login writes, so it waits for the user that it found."""

    async def log_in() -> Session:
        return await commands.accounts.log_in(
            auth.pool, auth.keyring, auth.hashing, wakeup=WAKEUP, email=auth.email, password=PASSWORD
        )

    await pair.leave_unknown(auth.register)
    assert auth.email == (await pair.after_replication(log_in)).user.email


async def test_failed_login(pair: Pair, auth: Auth) -> None:
    """A failed login writes to the audit log, so it waits, too."""

    async def fail() -> None:
        with pytest.raises(InvalidCredentials):
            await commands.accounts.log_in(
                auth.pool, auth.keyring, auth.hashing, wakeup=WAKEUP, email=auth.email, password="wrong"
            )

    await pair.leave_unknown(auth.register)
    await pair.after_replication(fail)


async def test_logged_out_before(pair: Pair, auth: Auth) -> None:
    """Logging out of a session that has ended succeeds, and its refresh token is refused, once its end is replicated."""
    session = await auth.register()
    session_id = await auth.session_id(session)

    async def log_out() -> None:
        await commands.sessions.log_out(auth.pool, WAKEUP, session_id=session_id, user_id=session.user.id)

    await pair.leave_unknown(log_out)
    await pair.after_replication(log_out)
    await pair.lose_standby()
    with pytest.raises(InvalidRefreshToken):
        await pair.after_replication(lambda: auth.refresh(session))


async def test_spent_refresh_token(pair: Pair, auth: Auth) -> None:
    """A refresh token that was spent ends its session, which is a write, so it waits."""
    session = await auth.register()
    await pair.leave_unknown(lambda: auth.refresh(session))
    with pytest.raises(InvalidRefreshToken):
        await pair.after_replication(lambda: auth.refresh(session))


async def test_session_ended_before(pair: Pair, auth: Auth) -> None:
    """That there is no such session any more is said once its end is replicated."""
    session = await auth.register()
    session_id = await auth.session_id(session)

    async def end() -> None:
        await commands.sessions.end_session(auth.pool, WAKEUP, user_id=session.user.id, session_id=session_id)

    await pair.leave_unknown(end)
    with pytest.raises(SessionNotFound):
        await pair.after_replication(end)


async def test_key_revoked_before(pair: Pair, auth: Auth) -> None:
    """That there is no such API key any more is said once its end is replicated."""
    session = await auth.register()
    made = await commands.api_keys.create_api_key(
        auth.pool,
        auth.keyring,
        auth.hashing,
        user_id=session.user.id,
        session_id=await auth.session_id(session),
        password=PASSWORD,
        totp=None,
        name="a test",
        scopes=[Scope.READ],
        expires_at=None,
    )

    async def revoke() -> None:
        await commands.api_keys.revoke_api_key(auth.pool, WAKEUP, key_id=made.listed.id, user_id=session.user.id)

    await pair.leave_unknown(revoke)
    with pytest.raises(ApiKeyNotFound):
        await pair.after_replication(revoke)


async def test_email_verified_before(pair: Pair, auth: Auth) -> None:
    """That an address is verified, and that the token is spent, is said once that is replicated."""
    session = await auth.register()
    token = await auth.token()

    async def verify() -> None:
        await commands.emails.verify_email(auth.pool, token=token)

    await pair.leave_unknown(verify)
    with pytest.raises(EmailTokenInvalid):
        await pair.after_replication(verify)
    await pair.lose_standby()
    with pytest.raises(EmailVerified):
        await pair.after_replication(
            lambda: commands.emails.request_verification(auth.pool, auth.keyring, user_id=session.user.id)
        )


async def test_password_reset_before(pair: Pair, auth: Auth) -> None:
    """That the token of a reset is spent is said once the reset is replicated."""
    await auth.register()
    await auth.forget()
    token = await auth.token()
    await pair.leave_unknown(lambda: auth.reset(token))
    with pytest.raises(EmailTokenInvalid):
        await pair.after_replication(lambda: auth.reset(token))


async def test_token_spent_by_a_duplicate(pair: Pair, auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same holds where the token is spent after the first look at it."""
    session = await auth.register()
    await auth.forget()
    token = await auth.token()
    await pair.leave_unknown(lambda: auth.reset(token))

    async def find_owner(*_: object) -> UUID:
        return session.user.id

    monkeypatch.setattr(commands.emails, "_find_owner", find_owner)
    with pytest.raises(EmailTokenInvalid):
        await pair.after_replication(lambda: auth.reset(token))


async def test_second_factor_on_before(pair: Pair, auth: Auth) -> None:
    """The refusal of an enabled second factor is returned once that is replicated, when confirming and when starting again."""
    user_id = (await auth.register()).user.id
    code = (await auth.start_totp(user_id)).code()
    await pair.leave_unknown(lambda: auth.confirm_totp(user_id, code))
    with pytest.raises(TotpAlreadyEnabled):
        await pair.after_replication(lambda: auth.confirm_totp(user_id, code))
    await pair.lose_standby()
    with pytest.raises(TotpAlreadyEnabled):
        await pair.after_replication(lambda: auth.start_totp(user_id))


async def test_role_given_before(pair: Pair, auth: Auth) -> None:
    """The role that a user has already is confirmed once it is replicated."""
    user_id = (await auth.register()).user.id

    async def give() -> Role:
        account = await commands.users.set_role(
            auth.pool, WAKEUP, user_id=user_id, role=Role.OPERATOR, operator_id=new_id()
        )
        return account.user.role

    await pair.leave_unknown(give)
    assert Role.OPERATOR is await pair.after_replication(give)


async def test_role_granted_before(pair: Pair, auth: Auth) -> None:
    """The same holds for the job of the command line."""
    await auth.register()

    async def grant() -> Role:
        return (await commands.users.grant_role(auth.pool, email=auth.email, role=Role.OPERATOR)).before

    await pair.leave_unknown(grant)
    assert Role.OPERATOR is await pair.after_replication(grant)


@pytest.mark.parametrize("disabled", [True, False])
async def test_disabled_or_enabled_before(pair: Pair, auth: Auth, *, disabled: bool) -> None:
    """Disabling a disabled user, or enabling an enabled one, succeeds once that is replicated."""
    user_id = (await auth.register()).user.id

    async def disable() -> bool:
        account = await commands.users.disable_user(
            auth.pool, WAKEUP, user_id=user_id, reason="a test", operator_id=new_id()
        )
        return account.disabled_at is not None

    async def enable() -> bool:
        account = await commands.users.enable_user(auth.pool, user_id=user_id, operator_id=new_id())
        return account.disabled_at is not None

    await disable()
    await enable()
    change = disable if disabled else enable
    if not disabled:
        await disable()
    await pair.leave_unknown(change)
    assert disabled is await pair.after_replication(change)


async def test_password_changed_before(pair: Pair, auth: Auth) -> None:
    """The old password is refused once the change is replicated: that it was tried is a write."""
    user_id = (await auth.register()).user.id

    async def change() -> Session:
        return await commands.passwords.change_password(
            auth.pool,
            auth.keyring,
            auth.hashing,
            wakeup=WAKEUP,
            user_id=user_id,
            current_password=PASSWORD,
            new_password="a better password",
            totp=None,
            user_agent=None,
        )

    await pair.leave_unknown(change)
    with pytest.raises(InvalidCredentials):
        await pair.after_replication(change)


async def test_keys_rotated_before(pair: Pair, auth: Auth) -> None:
    """A rotation that finds a key waiting to sign returns it once it is replicated."""
    await auth.register()
    # Another test may have left one that waits.
    await auth.pool.execute(
        "UPDATE signing_keys SET retired_at = clock_timestamp() WHERE signs_from > clock_timestamp()"
    )

    async def rotate() -> bool:
        return (await commands.signing_keys.rotate_keys(auth.pool, auth.keyring, operator_id=None)).is_new

    await pair.leave_unknown(rotate)
    assert not await pair.after_replication(rotate)
