"""Routes for registration, login and sessions."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from services.chassis.body import InvalidParameter
from services.contracts.refusal import Refusal
from services.gateway import errors, operations, responses, schemas
from services.gateway.api import credentials
from services.gateway.operations import BODY, Access, Operation, Response
from services.gateway.security import rate_limit, session_cookie
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.security.cors import ORIGINS
from services.gateway.security.revocations import REVOCATIONS
from services.gateway.upstreams import UPSTREAMS

BASE = f"{operations.BASE}/auth"

_COOKIE = ("Set-Cookie",)


async def register(request: web.Request) -> web.Response:
    """Register.

    The wallet in the default currency exists at once. An e-mail to verify the address is sent.
    """
    body: schemas.auth.Register = request[BODY]
    _check_origin(request, body)
    with credentials.new_password(request):
        session = await request.app[UPSTREAMS].auth.register(
            email=body.email,
            password=body.password,
            name=body.name,
            user_agent=credentials.user_agent(request),
            address=rate_limit.client_network(request),
        )
    return _session_response(session, body, status=201)


async def log_in(request: web.Request) -> web.Response:
    """Log in.

    If a second factor is enabled, `totp` must be one of its codes or a recovery code; without it the response is
    `totp_required`. After five wrong passwords or codes from one address, each further one doubles the waiting time, up to five
    minutes (fifteen for codes); until then the response is 429. Attempts on one account from many addresses are slowed down in
    the same way, except from addresses where the account logged in before.
    """
    body: schemas.auth.Login = request[BODY]
    _check_origin(request, body)
    async with credentials.login_attempt(request, body.email, with_code=body.totp is not None):
        session = await request.app[UPSTREAMS].auth.log_in(
            email=body.email,
            password=body.password,
            totp=body.totp,
            user_agent=credentials.user_agent(request),
            address=rate_limit.client_network(request),
        )
    return _session_response(session, body, status=200)


async def refresh(request: web.Request) -> web.Response:
    """Refresh tokens.

    The refresh token works once; a second use ends the session. Without a token in the body, the one in the cookie is used and
    the new one is set as the cookie; this requires a page of this gateway's own origin or of an allowed one.
    """
    body: schemas.auth.Refresh | None = request[BODY]
    token = body.refresh_token if body is not None else None
    if token is None:
        return await _refresh_by_cookie(request)
    if session_cookie.read(request) is not None:
        raise InvalidParameter("refresh_token", "is in the cookie as well: send only one of them")
    return responses.document(await request.app[UPSTREAMS].auth.refresh(token))


async def log_out(request: web.Request) -> web.Response:
    """Log out.

    Ends the session of the access token, everywhere within a second.
    """
    principal = request[PRINCIPAL]
    await request.app[UPSTREAMS].auth.log_out(session_id=principal.session_id, user_id=principal.user_id)
    request.app[REVOCATIONS].add(principal.session_id)
    return session_cookie.clear(request, responses.empty())


async def get_me(request: web.Request) -> web.Response:
    """Get the current user."""
    return responses.document(await request.app[UPSTREAMS].auth.get_user(request[PRINCIPAL].user_id))


def _check_origin(request: web.Request, body: schemas.auth.Register | schemas.auth.Login) -> None:
    # A page of another site must not log its visitor in to someone else's account.
    if body.session == schemas.auth.SESSION_IN_COOKIE:
        request.app[ORIGINS].check_if_sent(request)


def _session_response(
    session: dict[str, Any], body: schemas.auth.Register | schemas.auth.Login, *, status: int
) -> web.Response:
    if body.session == schemas.auth.SESSION_IN_COOKIE:
        return session_cookie.grant(session, status=status)
    return responses.document(session, status=status)


async def _refresh_by_cookie(request: web.Request) -> web.Response:
    token = session_cookie.read_checked(request)
    if token is None:
        raise errors.InvalidRefreshToken
    try:
        return session_cookie.grant(await request.app[UPSTREAMS].auth.refresh(token))
    except Refusal as refusal:
        if refusal.code == errors.InvalidRefreshToken.code:
            refusal.headers["Set-Cookie"] = session_cookie.CLEARED
        raise


OPERATIONS = (
    Operation(
        "POST",
        f"{BASE}/register",
        register,
        (Response(201, "The user is registered and logged in.", schemas.auth.Session, headers=_COOKIE),),
        access=Access.PUBLIC,
        body=schemas.auth.Register,
        refusals=(errors.EmailTaken, errors.OriginNotAllowed, errors.TooManyLogins),
        limit="register",
    ),
    Operation(
        "POST",
        f"{BASE}/login",
        log_in,
        (Response(200, "The session.", schemas.auth.Session, headers=_COOKIE),),
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
        (Response(200, "The session with new tokens.", schemas.auth.Session, headers=_COOKIE),),
        access=Access.PUBLIC,
        body=schemas.auth.Refresh,
        body_required=False,
        refusals=(errors.InvalidRefreshToken, errors.OriginNotAllowed),
    ),
    Operation(
        "POST",
        f"{BASE}/logout",
        log_out,
        (Response(204, "The session has ended.", headers=_COOKIE),),
        body=schemas.auth.Logout,
        body_required=False,
    ),
    Operation(
        "GET", f"{BASE}/me", get_me, (Response(200, "The user.", schemas.auth.User),), refusals=(errors.UserNotFound,)
    ),
)
