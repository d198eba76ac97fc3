"""Who the client is to the gateway: a session, renewed before it expires or when it is refused; or an API key."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from payflow import document as read
from payflow.errors import ApiKeyRefused, Misconfigured, NotLoggedIn, PayFlowError, Problem, SessionEnded
from payflow.limits import KEY
from payflow.session import Keeper, MemoryKeeper, Session, User
from payflow.transport import Transport


class Authentication:
    """The session of one client."""

    def __init__(self, transport: Transport, keeper: Keeper, credentials: tuple[str, str] | None) -> None:
        """With `credentials` (e-mail address and password) it logs in by itself, also when a session has ended."""
        self._transport = transport
        self._keeper = keeper
        self._credentials = credentials

    @property
    def user(self) -> User | None:
        """Who is logged in, as of the last login or renewal."""
        session = self._keeper.load()
        return session.user if session else None

    async def login(self, email: str, password: str, *, totp: str | None = None) -> User:
        """Begin a session.

        Raises:
            Problem: `invalid_credentials`, `totp_required`, `user_disabled`, or throttled.
        """
        code = {} if totp is None else {"totp": totp}
        return (await self._begin("/auth/login", {"email": email, "password": password} | code)).user

    async def change_password(self, current_password: str, new_password: str, *, totp: str | None = None) -> User:
        """Choose another password and go on in the one session that is left.

        Raises:
            Problem: `invalid_credentials`, `totp_required`, or throttled.
            NotLoggedIn, SessionEnded
        """
        token = await self.token()
        body = {"current_password": current_password, "new_password": new_password}
        code = {} if totp is None else {"totp": totp}
        async with self._keeper.exclusive():
            try:
                session = await self._begin("/auth/password", body | code, headers=bearer(token))
            except Problem as problem:
                if problem.is_token_refused:
                    raise SessionEnded(self._transport.gateway) from problem
                raise
        if self._credentials is not None:
            self._credentials = session.user.email, new_password
        return session.user

    async def register(self, email: str, password: str, name: str) -> User:
        """Make a user and begin a session.

        Raises:
            Problem: `email_taken`, or a field is not good.
        """
        return (await self._begin("/auth/register", {"email": email, "password": password, "name": name})).user

    async def token(self) -> str:
        """An access token that is not about to expire.

        Raises:
            NotLoggedIn, SessionEnded
        """
        session = self._keeper.load()
        if session is None and self._credentials is None:
            raise NotLoggedIn(self._transport.gateway)
        if session is not None and not session.is_due:
            return session.access_token
        return await self.renew(session.access_token if session else None)

    async def renew(self, spent: str | None) -> str:
        """An access token other than `spent`: one that somebody renewed meanwhile, or a new one.

        Raises:
            NotLoggedIn, SessionEnded
        """
        async with self._keeper.exclusive():
            session = self._keeper.load()
            if session is not None and session.access_token != spent:
                return session.access_token
            if session is None:
                session = await self._login_again(NotLoggedIn(self._transport.gateway))
            else:
                session = await self._refresh(session)
            return session.access_token

    async def logout(self) -> None:
        """End the session here and at the gateway. One that has ended there already is only forgotten here.

        Raises:
            NotLoggedIn
        """
        with contextlib.suppress(SessionEnded):
            token = await self.token()
            try:
                await self._transport.send("POST", "/auth/logout", headers=bearer(token))
            except Problem as problem:
                if not problem.is_unauthorized:
                    raise
        self._keeper.save(None)

    def refused(self) -> PayFlowError:
        """What it means when the gateway takes not even a renewed token."""
        return SessionEnded(self._transport.gateway)

    async def _refresh(self, session: Session) -> Session:
        try:
            return await self._begin("/auth/refresh", {"refresh_token": session.refresh_token})
        except Problem as problem:
            if not problem.is_unauthorized:
                raise
            self._keeper.save(None)
            ended = SessionEnded(self._transport.gateway)
            ended.__cause__ = problem
            return await self._login_again(ended)

    async def _login_again(self, otherwise: PayFlowError) -> Session:
        if self._credentials is None:
            raise otherwise
        email, password = self._credentials
        return await self._begin("/auth/login", {"email": email, "password": password})

    async def _begin(self, path: str, body: Mapping[str, str], *, headers: Mapping[str, str] | None = None) -> Session:
        answer = await self._transport.send("POST", path, body=body, headers=headers)
        session = read.convert(Session.granted, answer.document)
        self._keeper.save(session)
        return session


class ApiKeyAuthentication(Authentication):
    """An API key in place of a session: there is nothing to begin, to renew or to end."""

    def __init__(self, transport: Transport, api_key: str) -> None:
        """The key is sent as it is.

        Raises:
            Misconfigured: it does not consist of visible ASCII characters.
        """
        if not KEY.fullmatch(api_key):
            raise Misconfigured("the API key must consist of visible ASCII characters")
        super().__init__(transport, MemoryKeeper(), None)
        self._api_key = api_key

    async def token(self) -> str:
        """The key."""
        return self._api_key

    async def renew(self, spent: str | None) -> str:  # noqa: ARG002 - there is only this one
        """The key again: a stream that was told its token has expired goes on with it, unless it was revoked meanwhile."""
        return self._api_key

    async def logout(self) -> None:
        """There is no session.

        Raises:
            NotLoggedIn
        """
        raise NotLoggedIn(self._transport.gateway)

    def refused(self) -> PayFlowError:
        """What it means when the gateway does not take the key."""
        return ApiKeyRefused(self._transport.gateway)

    async def _begin(self, path: str, body: Mapping[str, str], *, headers: Mapping[str, str] | None = None) -> Session:  # noqa: ARG002
        raise Misconfigured("a client with an API key has no session; make another client to log in")


def bearer(token: str) -> dict[str, str]:
    """The header that carries an access token."""
    return {"Authorization": f"Bearer {token}"}
