"""Routes for a user's own sessions and password."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from services.gateway import errors, operations, responses, schemas
from services.gateway.api import credentials
from services.gateway.operations import BODY, QUERY, Operation, Response, path_id
from services.gateway.security import session_cookie
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.security.revocations import REVOCATIONS
from services.gateway.upstreams import UPSTREAMS

BASE = f"{operations.BASE}/auth"


async def change_password(request: web.Request) -> web.Response:
    """Change the password.

    Every session and API key of the user ends, everywhere within a second; the response is a new session. If a second factor is
    enabled, `totp` is required. Wrong passwords are throttled as at login.
    """
    body: schemas.auth.ChangePassword = request[BODY]
    principal = request[PRINCIPAL]
    async with credentials.confirmation(request, with_code=body.totp is not None):
        session = await request.app[UPSTREAMS].auth.change_password(
            user_id=principal.user_id,
            current_password=body.current_password,
            new_password=body.new_password,
            totp=body.totp,
            user_agent=credentials.user_agent(request),
        )
    request.app[REVOCATIONS].add(principal.session_id)
    request.app[REVOCATIONS].notify()
    # A browser that kept the refresh token in a cookie gets the new one as a cookie.
    is_in_cookie = session_cookie.read(request) is not None
    return session_cookie.grant(session) if is_in_cookie else responses.document(session)


async def list_sessions(request: web.Request) -> web.Response:
    """List active sessions, newest first.

    `used_at` is when the session was last refreshed, `user_agent` is the client's at login.
    """
    query: schemas.types.PageQuery = request[QUERY]
    principal = request[PRINCIPAL]
    page = await request.app[UPSTREAMS].auth.list_sessions(principal.user_id, query.parameters())
    return responses.document(page | {"items": [_marked(item, principal.session_id) for item in page["items"]]})


async def end_session(request: web.Request) -> web.Response:
    """End a session.

    It ends everywhere within a second.
    """
    session_id = path_id(request, errors.SessionNotFound)
    principal = request[PRINCIPAL]
    await request.app[UPSTREAMS].auth.end_session(user_id=principal.user_id, session_id=session_id)
    request.app[REVOCATIONS].add(session_id)
    # Ending the current session is a logout.
    if session_id == principal.session_id:
        return session_cookie.clear(request, responses.empty())
    return responses.empty()


async def end_other_sessions(request: web.Request) -> web.Response:
    """End all other sessions.

    All API keys end as well, everywhere within a second.
    """
    principal = request[PRINCIPAL]
    await request.app[UPSTREAMS].auth.end_other_sessions(user_id=principal.user_id, session_id=principal.session_id)
    request.app[REVOCATIONS].notify()
    return responses.empty()


def _marked(item: dict[str, Any], current: str) -> dict[str, Any]:
    return item | {"current": item["id"] == current}


OPERATIONS = (
    Operation(
        "POST",
        f"{BASE}/password",
        change_password,
        (Response(200, "The new session.", schemas.auth.Session, headers=("Set-Cookie",)),),
        body=schemas.auth.ChangePassword,
        refusals=(errors.InvalidCredentials, errors.TotpRequired, errors.UserDisabled, errors.TooManyLogins),
    ),
    Operation(
        "GET",
        f"{BASE}/sessions",
        list_sessions,
        (Response(200, "A page of sessions.", schemas.auth.SessionPage),),
        query=schemas.types.PageQuery,
    ),
    Operation("DELETE", f"{BASE}/sessions", end_other_sessions, (Response(204, "The other sessions have ended."),)),
    Operation(
        "DELETE",
        f"{BASE}/sessions/{{id}}",
        end_session,
        (Response(204, "The session has ended.", headers=("Set-Cookie",)),),
        refusals=(errors.SessionNotFound,),
    ),
)
