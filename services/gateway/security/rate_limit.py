"""How often: each request counts for its address before anybody asks who sends it, and then for its user or API key.

Some routes have a stricter limit of their own on top. The counts are those of all gateways together; without Redis each
gateway counts for itself, so nothing is ever unlimited.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from aiohttp import web

from services.chassis.problems import Handler
from services.gateway import metrics, operations
from services.gateway.address import Network, client_of, place_of
from services.gateway.errors import RateLimited
from services.gateway.security.authentication import PRINCIPAL, Principal
from services.gateway.security.rate_limit_counters import Allowances, Count, Limit
from services.gateway.settings import GatewaySettings

MINUTE = 60

LIMITS: Mapping[str, Limit] = MappingProxyType(
    {
        limit.name: limit
        for limit in (
            Limit("address", 30_000, MINUTE),
            Limit("user", 6_000, MINUTE),
            Limit("key", 6_000, MINUTE),
            Limit("login", 300, MINUTE, is_exact=True),
            Limit("register", 120, MINUTE, is_exact=True),
            Limit("recipients", 60, MINUTE, is_exact=True),
            Limit("letters", 20, 10 * MINUTE, is_exact=True),
            Limit("letter_tokens", 60, MINUTE, is_exact=True),
            Limit("wrong_key", 30, MINUTE, is_exact=True),
            Limit("wrong_recipient", 60, MINUTE, is_exact=True),
        )
    }
)
"""All there are. The first four are settings.

`letters` are those asked for by one user or from one address (what one mailbox gets is limited by auth, whoever asks);
`wrong_key` is for one address that shows API keys which do not exist, `wrong_recipient` for a user who pays to e-mail
addresses that nobody has.
"""

HEALTH = frozenset({"/livez", "/readyz"})
"""Asked by who watches over this process; never refused."""


def limits_of(settings: GatewaySettings) -> Mapping[str, Limit]:
    """The limits with the amounts of these settings."""
    amounts = {
        "address": settings.rate_limit_address,
        "user": settings.rate_limit_user,
        "key": settings.rate_limit_key,
        "login": settings.rate_limit_login,
    }
    return {
        name: Limit(name, amounts.get(name, limit.amount), limit.seconds, limit.is_exact)
        for name, limit in LIMITS.items()
    }


class RateLimiter:
    """Counts and refuses."""

    def __init__(self, allowances: Allowances, limits: Mapping[str, Limit], *, enabled: bool) -> None:
        assert set(limits) <= set(metrics.RATE_LIMITS)
        self._allowances = allowances
        self._limits = limits
        self._enabled = enabled

    async def take(self, name: str, who: str) -> Count | None:
        """Count one of the limit of this name; None while limits are lifted.

        An e-mail address or anything else that must not stand in Redis is given as its `pseudonym`.

        Raises:
            RateLimited: it was one too many.
        """
        if not self._enabled:
            return None
        limit = self._limits[name]
        count = await self._allowances.take_exactly(limit, who) if limit.is_exact else self._allowances.take(limit, who)
        return _admitted(count)

    def take_now(self, name: str, who: str) -> Count | None:
        """As `take`, for limits that are not exact: nothing is waited for."""
        if not self._enabled:
            return None
        return _admitted(self._allowances.take(self._limits[name], who))

    def check(self, name: str, who: str) -> None:
        """Refuse when nothing is left, as far as is known here; count nothing. For what is counted only when it went wrong.

        Raises:
            RateLimited: see `take`.
        """
        if self._enabled:
            _admitted(self._allowances.look(self._limits[name], who))


LIMITER: web.AppKey[RateLimiter] = web.AppKey("rate_limiter")
PLACE: web.RequestKey[str] = web.RequestKey("place", str)
COUNT: web.RequestKey[Count | None] = web.RequestKey("count", object)  # type: ignore[arg-type]


def by_address(limiter: RateLimiter, trusted: Sequence[Network]) -> Any:
    """Count each request for where it comes from: before its token is looked at, and whether or not it has a route."""

    @web.middleware
    async def limit(request: web.Request, handler: Handler) -> web.StreamResponse:
        place = request[PLACE] = _place(request, trusted)
        if request.path not in HEALTH:
            request[COUNT] = limiter.take_now("address", place)
        return await handler(request)

    return limit


def by_caller(limiter: RateLimiter) -> Any:
    """Count each request for its user, or for its API key alone; and for the limit of its route where that has one.

    A route's limit is one for all keys of a user: more keys are no more guesses.
    """

    @web.middleware
    async def limit(request: web.Request, handler: Handler) -> web.StreamResponse:
        operation = operations.of(request)
        if operation is None:
            return await handler(request)
        principal = request.get(PRINCIPAL)
        if principal is not None:
            request[COUNT] = limiter.take_now(*_subject(principal))
        if operation.limit is not None:
            who = request[PLACE] if principal is None else principal.user_id
            request[COUNT] = await limiter.take(operation.limit, who)
        return await handler(request)

    return limit


async def on_prepare(request: web.Request, response: web.StreamResponse) -> None:
    """Tell how much is left of the narrowest limit that this request counted for."""
    count = request.get(COUNT)
    if count is not None:
        for name, value in headers_of(count).items():
            response.headers.setdefault(name, value)


def headers_of(count: Count) -> dict[str, str]:
    """`RateLimit` and `RateLimit-Policy`, as in draft-ietf-httpapi-ratelimit-headers."""
    limit = count.limit
    return {
        "RateLimit": f'"{limit.name}";r={count.remaining};t={count.seconds}',
        "RateLimit-Policy": f'"{limit.name}";q={limit.amount};w={limit.seconds}',
    }


def address(request: web.Request) -> str:
    """Where the request comes from, as it is counted: the address, or the /64 network of an IPv6 address."""
    return request[PLACE]


def pseudonym(text: str) -> str:
    """A stand-in for a text that must not stand in Redis; one for all spellings of an e-mail address."""
    return hashlib.sha256(text.strip().lower().encode()).hexdigest()[:32]


def refusal(count: Count) -> RateLimited:
    """What is said to who came too often, and counted."""
    metrics.RATE_LIMITED.labels(count.limit.name).inc()
    return RateLimited(headers=headers_of(count) | {"Retry-After": str(count.seconds)})


def _subject(principal: Principal) -> tuple[str, str]:
    return ("user", principal.user_id) if principal.scopes is None else ("key", principal.session_id)


def _admitted(count: Count) -> Count:
    if not count.fits:
        raise refusal(count)
    return count


def _place(request: web.Request, trusted: Sequence[Network]) -> str:
    peer = request.remote or ""
    if trusted:
        peer = client_of(peer, request.headers.getall("X-Forwarded-For", ()), trusted)
    return place_of(peer)
