"""Routes of one's own sessions: which there are, the end of one or of all others, and another password, which ends them all."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from services.gateway import errors, operations, responses, schemas
from services.gateway.api import credentials
from services.gateway.operations import BODY, QUERY, Answer, Operation, path_id
from services.gateway.security import session_cookie
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.security.revocations import SESSIONS
from services.gateway.upstreams import UPSTREAMS, call

BASE = f"{operations.BASE}/auth"


async def change_password(request: web.Request) -> web.Response:
    """Choose another password.

    Every session and API key of the user ends, everywhere within a second, this session too; the answer is a new one. With a
    second factor on, `totp` is needed. Wrong passwords are counted as at the login.
    """
    asked: schemas.auth.ChangePassword = request[BODY]
    body = asked.model_dump() | {"user_agent": credentials.user_agent(request)}
    session = await credentials.show_own(request, "POST", "/internal/password", body, once=True)
    request.app[SESSIONS].end(request[PRINCIPAL].session_id)
    request.app[SESSIONS].notify()
    # Who kept the old refresh token in a cookie keeps the new one there.
    is_in_cookie = session_cookie.read(request) is not None
    return session_cookie.grant(session) if is_in_cookie else responses.document(session)


async def list_sessions(request: web.Request) -> web.Response:
    """The sessions that go on, newest first.

    `used_at` is when the session was last refreshed, `user_agent` what the client called itself when it logged in.
    """
    asked: schemas.types.PageQuery = request[QUERY]
    principal = request[PRINCIPAL]
    path = f"/internal/users/{principal.user_id}/sessions"
    found = await call(request.app[UPSTREAMS].auth, "GET", path, params=asked.parameters())
    return responses.document(found | {"items": [_marked(item, principal.session_id) for item in found["items"]]})


async def end_session(request: web.Request) -> web.Response:
    """End one of one's sessions, everywhere within a second."""
    session_id = path_id(request, errors.SessionNotFound)
    principal = request[PRINCIPAL]
    body = {"user_id": principal.user_id, "session_id": session_id}
    await call(request.app[UPSTREAMS].auth, "POST", "/internal/sessions/end", body=body)
    request.app[SESSIONS].end(session_id)
    # Ending the one that asks is a logout.
    return (
        session_cookie.forget(request, responses.empty()) if session_id == principal.session_id else responses.empty()
    )


async def end_other_sessions(request: web.Request) -> web.Response:
    """End all of one's sessions but this one, and all of one's API keys, everywhere within a second."""
    body = {"user_id": request[PRINCIPAL].user_id, "session_id": request[PRINCIPAL].session_id}
    auth = request.app[UPSTREAMS].auth
    # Nobody there: the session that asks has just ended.
    await call(auth, "POST", "/internal/sessions/end-others", body=body, missing=errors.InvalidToken)
    request.app[SESSIONS].notify()
    return responses.empty()


def _marked(item: dict[str, Any], current: str) -> dict[str, Any]:
    return item | {"current": item["id"] == current}


OPERATIONS = (
    Operation(
        "POST",
        f"{BASE}/password",
        change_password,
        (Answer(200, "Changed; a new session.", schemas.auth.Session, headers=("Set-Cookie",)),),
        body=schemas.auth.ChangePassword,
        refusals=(errors.InvalidCredentials, errors.TotpRequired, errors.UserDisabled, errors.TooManyLogins),
    ),
    Operation(
        "GET",
        f"{BASE}/sessions",
        list_sessions,
        (Answer(200, "The sessions.", schemas.auth.SessionPage),),
        query=schemas.types.PageQuery,
    ),
    Operation("DELETE", f"{BASE}/sessions", end_other_sessions, (Answer(204, "The others have ended."),)),
    Operation(
        "DELETE",
        f"{BASE}/sessions/{{id}}",
        end_session,
        (Answer(204, "Ended.", headers=("Set-Cookie",)),),
        refusals=(errors.SessionNotFound,),
    ),
)
