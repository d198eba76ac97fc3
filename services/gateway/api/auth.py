"""Routes of people and their sessions."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from services.chassis.body import InvalidRequest
from services.contracts.refusal import FieldError, Refusal
from services.gateway import errors, operations, responses, schemas
from services.gateway.api import credentials
from services.gateway.operations import BODY, Access, Answer, Operation
from services.gateway.security import rate_limit, session_cookie
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.security.cors import ORIGINS
from services.gateway.security.revocations import SESSIONS
from services.gateway.upstreams import UPSTREAMS, call

BASE = f"{operations.BASE}/auth"

_COOKIE = ("Set-Cookie",)


async def register(request: web.Request) -> web.Response:
    """Join.

    The wallet in the default currency is simply there. A letter to verify the e-mail address is on its way.
    """
    asked: schemas.auth.Register = request[BODY]
    _admit_page(request, asked)
    said = {"user_agent": credentials.user_agent(request), "address": rate_limit.address(request)}
    body = asked.model_dump(exclude={"session"}) | said
    session = await credentials.set_new(request, "/internal/register", body)
    return _begun(session, asked, status=201)


async def log_in(request: web.Request) -> web.Response:
    """Open a session.

    With a second factor on, `totp` is a code of it or a recovery code; without one this answers `totp_required`. After five
    wrong passwords or codes from one address each further one doubles the time to wait, up to five minutes (with codes up to
    fifteen); until then this answers 429. Guesses at one account from many addresses are slowed down in the same way, but not
    for who logged in to it from their address before.
    """
    asked: schemas.auth.Login = request[BODY]
    _admit_page(request, asked)
    body = asked.model_dump(exclude={"session"}, exclude_none=True) | {"user_agent": credentials.user_agent(request)}
    session = await credentials.log_in(request, body)
    return _begun(session, asked, status=200)


async def refresh(request: web.Request) -> web.Response:
    """Trade a refresh token for a new pair.

    The old one is spent. Using a spent one again ends the whole session. Without one in the body that of the cookie is taken,
    and the new one is in the cookie again; only for a page of this gateway's own origin or of an allowed one.
    """
    asked: schemas.auth.Refresh | None = request[BODY]
    given = asked.refresh_token if asked is not None else None
    if given is None:
        return await _refresh_by_cookie(request)
    if session_cookie.read(request) is not None:
        raise InvalidRequest(errors=[FieldError("refresh_token", "is in the cookie as well: send only one of them")])
    return responses.document(await _trade(request, given))


async def log_out(request: web.Request) -> web.Response:
    """End the session of the access token, everywhere within a second."""
    principal = request[PRINCIPAL]
    await call(
        request.app[UPSTREAMS].auth,
        "POST",
        "/internal/logout",
        body={"session_id": principal.session_id, "user_id": principal.user_id},
    )
    request.app[SESSIONS].end(principal.session_id)
    return session_cookie.forget(request, responses.empty())


async def get_me(request: web.Request) -> web.Response:
    """Who the access token speaks for."""
    path = f"/internal/users/{request[PRINCIPAL].user_id}"
    return responses.document(await call(request.app[UPSTREAMS].auth, "GET", path))


def _admit_page(request: web.Request, asked: schemas.auth.Register | schemas.auth.Login) -> None:
    # A foreign page must not log its visitor in as somebody else.
    if asked.session == schemas.auth.SESSION_IN_COOKIE:
        request.app[ORIGINS].check_if_named(request)


def _begun(session: Any, asked: schemas.auth.Register | schemas.auth.Login, *, status: int) -> web.Response:
    if asked.session == schemas.auth.SESSION_IN_COOKIE:
        return session_cookie.grant(session, status=status)
    return responses.document(session, status=status)


async def _refresh_by_cookie(request: web.Request) -> web.Response:
    token = session_cookie.use(request)
    if token is None:
        raise errors.InvalidRefreshToken
    try:
        return session_cookie.grant(await _trade(request, token))
    except Refusal as refusal:
        if refusal.code == errors.InvalidRefreshToken.code:
            refusal.headers["Set-Cookie"] = session_cookie.FORGOTTEN
        raise


async def _trade(request: web.Request, refresh_token: str) -> Any:
    body = {"refresh_token": refresh_token}
    return await call(request.app[UPSTREAMS].auth, "POST", "/internal/refresh", body=body, once=True)


OPERATIONS = (
    Operation(
        "POST",
        f"{BASE}/register",
        register,
        (Answer(201, "Registered and logged in.", schemas.auth.Session, headers=_COOKIE),),
        access=Access.PUBLIC,
        body=schemas.auth.Register,
        refusals=(errors.EmailTaken, errors.OriginNotAllowed, errors.TooManyLogins),
        limit="register",
    ),
    Operation(
        "POST",
        f"{BASE}/login",
        log_in,
        (Answer(200, "Logged in.", schemas.auth.Session, headers=_COOKIE),),
        access=Access.PUBLIC,
        body=schemas.auth.Login,
        refusals=(
            errors.InvalidCredentials,
            errors.TotpRequired,
            errors.OriginNotAllowed,
            errors.UserDisabled,
            errors.TooManyLogins,
        ),
        limit="login",
    ),
    Operation(
        "POST",
        f"{BASE}/refresh",
        refresh,
        (Answer(200, "A new pair.", schemas.auth.Session, headers=_COOKIE),),
        access=Access.PUBLIC,
        body=schemas.auth.Refresh,
        body_required=False,
        refusals=(errors.InvalidRefreshToken, errors.OriginNotAllowed),
    ),
    Operation(
        "POST",
        f"{BASE}/logout",
        log_out,
        (Answer(204, "Logged out.", headers=_COOKIE),),
        body=schemas.auth.Logout,
        body_required=False,
    ),
    Operation("GET", f"{BASE}/me", get_me, (Answer(200, "You.", schemas.auth.User),), refusals=(errors.UserNotFound,)),
)
