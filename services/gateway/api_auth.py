"""Routes of people and their sessions."""

from __future__ import annotations

from aiohttp import web

from services.contracts.refusal import Refusal
from services.gateway import answers, errors, operations, rate_limit, schemas
from services.gateway.authentication import PRINCIPAL
from services.gateway.operations import BODY, Access, Answer, Operation
from services.gateway.rate_limit import LIMITER, WRONG_LOGIN
from services.gateway.sessions import SESSIONS
from services.gateway.upstreams import UPSTREAMS, call

BASE = f"{operations.BASE}/auth"


async def register(request: web.Request) -> web.Response:
    """Join.

    The wallet in the default currency is simply there.
    """
    asked: schemas.Register = request[BODY]
    session = await call(request.app[UPSTREAMS].auth, "POST", "/internal/register", body=asked.model_dump(), once=True)
    return answers.document(session, status=201)


async def log_in(request: web.Request) -> web.Response:
    """Open a session.

    Wrong passwords are counted per address and e-mail address; after ten in five minutes this answers 429.
    """
    asked: schemas.Login = request[BODY]
    limiter = request.app[LIMITER]
    who = rate_limit.address(request), rate_limit.pseudonym(asked.email)
    await limiter.check(WRONG_LOGIN, *who)
    try:
        session = await call(request.app[UPSTREAMS].auth, "POST", "/internal/login", body=asked.model_dump())
    except Refusal as refusal:
        if refusal.code == errors.InvalidCredentials.code:
            await limiter.count(WRONG_LOGIN, *who)
        raise
    return answers.document(session)


async def refresh(request: web.Request) -> web.Response:
    """Trade a refresh token for a new pair.

    The old one is spent. Using a spent one again ends the whole session.
    """
    asked: schemas.Refresh = request[BODY]
    session = await call(request.app[UPSTREAMS].auth, "POST", "/internal/refresh", body=asked.model_dump(), once=True)
    return answers.document(session)


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
    return answers.empty()


async def get_me(request: web.Request) -> web.Response:
    """Who the access token speaks for."""
    path = f"/internal/users/{request[PRINCIPAL].user_id}"
    return answers.document(await call(request.app[UPSTREAMS].auth, "GET", path))


OPERATIONS = (
    Operation(
        "POST",
        f"{BASE}/register",
        register,
        (Answer(201, "Registered and logged in.", schemas.Session),),
        access=Access.PUBLIC,
        body=schemas.Register,
        refusals=(errors.EmailTaken, errors.PasswordsBusy),
        limit="register",
    ),
    Operation(
        "POST",
        f"{BASE}/login",
        log_in,
        (Answer(200, "Logged in.", schemas.Session),),
        access=Access.PUBLIC,
        body=schemas.Login,
        refusals=(errors.InvalidCredentials, errors.PasswordsBusy),
        limit="login",
    ),
    Operation(
        "POST",
        f"{BASE}/refresh",
        refresh,
        (Answer(200, "A new pair.", schemas.Session),),
        access=Access.PUBLIC,
        body=schemas.Refresh,
        refusals=(errors.InvalidRefreshToken,),
    ),
    Operation(
        "POST", f"{BASE}/logout", log_out, (Answer(204, "Logged out."),), body=schemas.Logout, body_required=False
    ),
    Operation("GET", f"{BASE}/me", get_me, (Answer(200, "You.", schemas.User),), refusals=(errors.UserNotFound,)),
)
