"""Passwords and codes on their way to auth: wrong ones are counted, and auth is told what the client calls itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aiohttp import hdrs, web

from services.contracts.refusal import Refusal
from services.gateway import errors, rate_limit
from services.gateway.authentication import PRINCIPAL
from services.gateway.rate_limit import LIMITER, WRONG_LOGIN
from services.gateway.upstreams import UPSTREAMS, call

USER_AGENT_LENGTH_MAX = 120

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")


async def show(
    request: web.Request, method: str, path: str, body: Mapping[str, Any], *, who: str, once: bool = False
) -> Any:
    """Ask auth with a password or a code in the body; `who` it is about, as the throttle counts it.

    Raises:
        RateLimited: too many were wrong already.
        Refusal: whatever auth says.
    """
    limiter = request.app[LIMITER]
    counted = rate_limit.address(request), who
    await limiter.check(WRONG_LOGIN, *counted)
    try:
        return await call(request.app[UPSTREAMS].auth, method, path, body=body, once=once)
    except Refusal as refusal:
        if refusal.code == errors.InvalidCredentials.code:
            await limiter.count(WRONG_LOGIN, *counted)
        raise


async def show_own(request: web.Request, method: str, path: str, body: Mapping[str, Any], *, once: bool = False) -> Any:
    """As `show`, for the user who is logged in; raises as it does."""
    user_id = request[PRINCIPAL].user_id
    return await show(request, method, path, {**body, "user_id": user_id}, who=user_id, once=once)


def user_agent(request: web.Request) -> str | None:
    """What the client calls itself, short and printable; None when it does not say."""
    said = _UNPRINTABLE.sub(" ", request.headers.get(hdrs.USER_AGENT, ""))
    return said[:USER_AGENT_LENGTH_MAX].strip() or None
