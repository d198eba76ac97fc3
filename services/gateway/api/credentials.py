"""Passwords and codes on their way to auth: concurrent checks are capped and wrong attempts are throttled."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from aiohttp import hdrs, web

from services.contracts import limits
from services.gateway.security import rate_limit
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.security.login_throttle import LOGIN_THROTTLE
from services.gateway.security.passwords import PASSWORDS

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")


@asynccontextmanager
async def login_attempt(request: web.Request, email: str, *, with_code: bool) -> AsyncIterator[None]:
    """Around the call that logs in. `with_code`: a code of the second factor is sent as well.

    Raises:
        RateLimited: too many attempts failed; this one was not checked.
        TooManyLogins: too many passwords are being checked; neither was this one.
    """
    address = rate_limit.client_network(request)
    with request.app[PASSWORDS].slot():
        async with request.app[LOGIN_THROTTLE].login(email, address, with_code=with_code):
            yield


@asynccontextmanager
async def confirmation(request: web.Request, *, with_code: bool) -> AsyncIterator[None]:
    """Around a call that checks a password or a code of the logged-in user; raises as `login_attempt`.

    An access token must not be a way to find out the password.
    """
    user_id, address = request[PRINCIPAL].user_id, rate_limit.client_network(request)
    with request.app[PASSWORDS].slot():
        async with request.app[LOGIN_THROTTLE].attempt(user_id, address, with_code=with_code):
            yield


@contextmanager
def new_password(request: web.Request) -> Iterator[None]:
    """Around a call that only hashes a new password; nothing can be guessed by it.

    Raises:
        TooManyLogins: too many passwords are being hashed.
    """
    with request.app[PASSWORDS].slot():
        yield


def user_agent(request: web.Request) -> str | None:
    """The `User-Agent` header, shortened and printable; None without one."""
    text = _UNPRINTABLE.sub(" ", request.headers.get(hdrs.USER_AGENT, ""))
    return text[: limits.USER_AGENT_LENGTH_MAX].strip() or None
