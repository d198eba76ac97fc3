"""The refresh token of a browser: in a cookie that no script reads and that no other site's page sends.

The name's prefix binds it to this host, to the whole of it, and to TLS (browsers count 127.0.0.1 and localhost as safe, too).
The cookie opens nothing but `POST /auth/refresh`, and there only for a page of an origin that we know.
"""

from __future__ import annotations

from typing import Any

from aiohttp import hdrs, web

from services.gateway import responses
from services.gateway.security.cors import ORIGINS

NAME = "__Host-payflow-refresh"

REFRESH_SECONDS = 30 * 24 * 3600
"""How long a refresh token waits to be used, as auth has it."""

_ATTRIBUTES = "Path=/; Secure; HttpOnly; SameSite=Strict"
FORGOTTEN = f"{NAME}=; Max-Age=0; {_ATTRIBUTES}"
"""The `Set-Cookie` by which a browser forgets it."""


def read(request: web.Request) -> str | None:
    """The refresh token in the cookie; None without one."""
    if hdrs.COOKIE not in request.headers:
        return None
    return request.cookies.get(NAME) or None


def use(request: web.Request) -> str | None:
    """The refresh token in the cookie, for a page that may use it; None without one.

    Raises:
        OriginNotAllowed: there is one, and the page is of an origin that we do not know.
    """
    token = read(request)
    if token is not None:
        request.app[ORIGINS].check(request)
    return token


def grant(session: dict[str, Any], *, status: int = 200) -> web.Response:
    """The answer to a login or a refresh, with the refresh token in the cookie instead of the body."""
    cookie = f"{NAME}={session.pop('refresh_token')}; Max-Age={REFRESH_SECONDS}; {_ATTRIBUTES}"
    return responses.document(session, status=status, headers={hdrs.SET_COOKIE: cookie})


def forget(request: web.Request, response: web.Response) -> web.Response:
    """The same answer; a browser that sent the cookie forgets it."""
    if read(request) is not None:
        response.headers.add(hdrs.SET_COOKIE, FORGOTTEN)
    return response
