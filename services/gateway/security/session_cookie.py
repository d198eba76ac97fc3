"""The refresh token of a browser, in a cookie that scripts cannot read and pages of other sites do not send.

The prefix of its name binds it to this host, to all of its paths, and to TLS (browsers treat 127.0.0.1 and localhost as secure).
It is accepted by `POST /auth/refresh` only, and only from pages of known origins.
"""

from __future__ import annotations

from typing import Any

from aiohttp import hdrs, web

from services.contracts import limits
from services.gateway import responses
from services.gateway.security.cors import ORIGINS

NAME = "__Host-payflow-refresh"

_ATTRIBUTES = "Path=/; Secure; HttpOnly; SameSite=Strict"
CLEARED = f"{NAME}=; Max-Age=0; {_ATTRIBUTES}"
"""The `Set-Cookie` that removes it."""


def read(request: web.Request) -> str | None:
    """The refresh token in the cookie; None without one."""
    if hdrs.COOKIE not in request.headers:
        return None
    return request.cookies.get(NAME) or None


def read_checked(request: web.Request) -> str | None:
    """As `read`, for pages of known origins only.

    Raises:
        OriginNotAllowed: there is a cookie, and the page is of an unknown origin.
    """
    token = read(request)
    if token is not None:
        request.app[ORIGINS].check(request)
    return token


def grant(session: dict[str, Any], *, status: int = 200) -> web.Response:
    """The response to a login or a refresh, with the refresh token in the cookie instead of the body."""
    cookie = f"{NAME}={session.pop('refresh_token')}; Max-Age={limits.REFRESH_TOKEN_SECONDS}; {_ATTRIBUTES}"
    return responses.document(session, status=status, headers={hdrs.SET_COOKIE: cookie})


def clear(request: web.Request, response: web.Response) -> web.Response:
    """The same response, removing the cookie from a browser that sent it."""
    if read(request) is not None:
        response.headers.add(hdrs.SET_COOKIE, CLEARED)
    return response
