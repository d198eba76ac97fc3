"""The client's credentials: a session, refreshed before it expires or when it is refused; or an API key."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from payflow import document as read
from payflow.errors import ApiKeyRefused, Misconfigured, NotLoggedIn, PayFlowError, Problem, SessionEnded
from payflow.limits import KEY
from payflow.session import MemorySessionStore, Session, SessionStore, User
from payflow.transport import Transport


class Authentication:
    """The session of one client."""

    def __init__(self, transport: Transport, store: SessionStore, credentials: tuple[str, str] | None) -> None:
        """With `credentials` (e-mail address and password) it logs in when needed, also when a session has ended."""
        self._transport = transport
        self._store = store
        self._credentials = credentials

    @property
    def user(self) -> User | None:
        """The user of the session, as of the last login or refresh."""
        session = self._store.load()
        return session.user if session else None

    async def login(self, email: str, password: str, *, totp: str | None = None) -> User:
        """Log in.

        Raises:
            Problem: `invalid_credentials`, `totp_required`, `user_disabled`, or throttled.
        """
        code = {} if totp is None else {"totp": totp}
        return (await self._begin("/auth/login", {"email": email, "password": password} | code)).user

    async def change_password(self, current_password: str, new_password: str, *, totp: str | None = None) -> User:
        """Change the password and continue in the new session.

        Raises:
            Problem: `invalid_credentials`, `totp_required`, or throttled.
            NotLoggedIn, SessionEnded
        """
        token = await self.token()
        body = {"current_password": current_password, "new_password": new_password}
        code = {} if totp is None else {"totp": totp}
        async with self._store.exclusive():
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
        """Register a user and log in.

        Raises:
            Problem: `email_taken`, or a field is not valid.
        """
        return (await self._begin("/auth/register", {"email": email, "password": password, "name": name})).user

    async def token(self) -> str:
        """An access token that is not about to expire.

        Raises:
            NotLoggedIn, SessionEnded
        """
        session = self._store.load()
        if session is None and self._credentials is None:
            raise NotLoggedIn(self._transport.gateway)
        if session is not None and not session.is_due:
            return session.access_token
        return await self.renew(session.access_token if session else None)

    async def renew(self, spent: str | None) -> str:
        """An access token other than `spent`: one that was refreshed meanwhile, or a new one.

        Raises:
            NotLoggedIn, SessionEnded
        """
        async with self._store.exclusive():
            session = self._store.load()
            if session is not None and session.access_token != spent:
                return session.access_token
            if session is None:
                session = await self._login_again(NotLoggedIn(self._transport.gateway))
            else:
                session = await self._refresh(session)
            return session.access_token

    async def logout(self) -> None:
        """End the session here and at the gateway. One that has already ended there is only removed here.

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
        self._store.save(None)

    def refused(self) -> PayFlowError:
        """The error if the gateway refuses even a new token."""
        return SessionEnded(self._transport.gateway)

    async def _refresh(self, session: Session) -> Session:
        try:
            return await self._begin("/auth/refresh", {"refresh_token": session.refresh_token})
        except Problem as problem:
            if not problem.is_unauthorized:
                raise
            self._store.save(None)
            ended = SessionEnded(self._transport.gateway)
            ended.__cause__ = problem
            return await self._login_again(ended)

    async def _login_again(self, otherwise: PayFlowError) -> Session:
        if self._credentials is None:
            raise otherwise
        email, password = self._credentials
        return await self._begin("/auth/login", {"email": email, "password": password})

    async def _begin(self, path: str, body: Mapping[str, str], *, headers: Mapping[str, str] | None = None) -> Session:
        response = await self._transport.send("POST", path, body=body, headers=headers)
        session = read.convert(Session.granted, response.document)
        self._store.save(session)
        return session


class ApiKeyAuthentication(Authentication):
    """An API key in place of a session: there is no login, refresh or logout."""

    def __init__(self, transport: Transport, api_key: str) -> None:
        """The key is sent as it is.

        Raises:
            Misconfigured: it does not consist of visible ASCII characters.
        """
        if not KEY.fullmatch(api_key):
            raise Misconfigured("the API key must consist of visible ASCII characters")
        super().__init__(transport, MemorySessionStore(), None)
        self._api_key = api_key

    async def token(self) -> str:
        """The key."""
        return self._api_key

    async def renew(self, spent: str | None) -> str:  # noqa: ARG002 - there is only this one
        """The key again: an event stream whose token was reported as expired continues with it, unless it was revoked."""
        return self._api_key

    async def logout(self) -> None:
        """There is no session.

        Raises:
            NotLoggedIn
        """
        raise NotLoggedIn(self._transport.gateway)

    def refused(self) -> PayFlowError:
        """The error if the gateway refuses the key."""
        return ApiKeyRefused(self._transport.gateway)

    async def _begin(self, path: str, body: Mapping[str, str], *, headers: Mapping[str, str] | None = None) -> Session:  # noqa: ARG002
        raise Misconfigured("a client with an API key has no session; create another client to log in")


def bearer(token: str) -> dict[str, str]:
    """The header that carries an access token."""
    return {"Authorization": f"Bearer {token}"}
