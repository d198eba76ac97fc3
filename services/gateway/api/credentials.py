"""Passwords and codes on their way to auth: wrong ones are counted, and auth is told what the client calls itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aiohttp import hdrs, web

from services.contracts.refusal import Refusal
from services.gateway.security import rate_limit
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.security.login_throttle import GUESSES
from services.gateway.security.passwords import PASSWORDS
from services.gateway.upstreams import UPSTREAMS, call

USER_AGENT_LENGTH_MAX = 120

CODES = ("totp", "code")
"""Fields that hold a code of the second factor, or a recovery code."""

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")


async def log_in(request: web.Request, body: Mapping[str, Any]) -> Any:
    """Ask auth to open a session for who shows what is in this body; it learns from where that was.

    Raises:
        RateLimited: too many were wrong; this one was not looked at.
        TooManyLogins: too many passwords are under way; neither was this one.
        Refusal: whatever auth says.
    """
    place = rate_limit.address(request)
    # A code is spent by its first use: what carries one must not arrive twice.
    with_code = _holds_code(body)
    with request.app[PASSWORDS].place():
        async with request.app[GUESSES].login(body["email"], place, with_code=with_code):
            auth = request.app[UPSTREAMS].passwords
            return await call(auth, "POST", "/internal/login", body={**body, "address": place}, once=with_code)


async def show_own(
    request: web.Request,
    method: str,
    path: str,
    body: Mapping[str, Any],
    *,
    once: bool = False,
    missing: type[Refusal] | None = None,
) -> Any:
    """Ask auth with a password or a code of the user who is logged in; raises as `log_in`, and `missing` as `call` does.

    Whoever holds somebody's access token must not find out by it what opens the account.
    """
    user_id = request[PRINCIPAL].user_id
    with request.app[PASSWORDS].place():
        async with request.app[GUESSES].one(user_id, rate_limit.address(request), with_code=_holds_code(body)):
            auth = request.app[UPSTREAMS].passwords
            return await call(auth, method, path, body={**body, "user_id": user_id}, once=once, missing=missing)


async def set_new(request: web.Request, path: str, body: Mapping[str, Any]) -> Any:
    """Have auth hash a new password, with nothing guessed: who joins, who holds a letter.

    Raises:
        TooManyLogins: too many passwords are under way.
        Refusal: whatever auth says.
    """
    with request.app[PASSWORDS].place():
        return await call(request.app[UPSTREAMS].passwords, "POST", path, body=body, once=True)


def user_agent(request: web.Request) -> str | None:
    """What the client calls itself, short and printable; None when it does not say."""
    said = _UNPRINTABLE.sub(" ", request.headers.get(hdrs.USER_AGENT, ""))
    return said[:USER_AGENT_LENGTH_MAX].strip() or None


def _holds_code(body: Mapping[str, Any]) -> bool:
    return any(body.get(field) is not None for field in CODES)
