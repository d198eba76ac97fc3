"""Rate limits: each request counts for its address before authentication, and then for its user or API key.

Some routes have a stricter limit of their own as well. Counts are shared by all gateways; without Redis each gateway counts for
itself, so nothing is ever unlimited.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from aiohttp import web

from services.chassis.server import Guard
from services.gateway import metrics, operations
from services.gateway.address import Network, client_network_of, client_of
from services.gateway.errors import RateLimited
from services.gateway.security.authentication import PRINCIPAL, Principal
from services.gateway.security.rate_limit_counters import Count, Limit, Quotas
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
            Limit("emails", 20, 10 * MINUTE, is_exact=True),
            Limit("email_tokens", 60, MINUTE, is_exact=True),
            Limit("wrong_key", 30, MINUTE, is_exact=True),
            Limit("wrong_recipient", 60, MINUTE, is_exact=True),
        )
    }
)
"""All limits. The first four are settings.

`emails` counts emails requested by one user or from one address (auth limits the emails to one mailbox); `wrong_key` counts
unknown API keys from one address, `wrong_recipient` transfers of one user to unregistered e-mail addresses.
"""

HEALTH = frozenset({"/livez", "/readyz"})
"""Polled by the supervisor of this process; never refused."""


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
    """Counts requests and refuses those above their limit."""

    def __init__(self, quotas: Quotas, limits: Mapping[str, Limit], *, enabled: bool) -> None:
        assert set(limits) <= set(metrics.RATE_LIMITS)
        self._quotas = quotas
        self._limits = limits
        self._enabled = enabled

    async def take(self, name: str, subject: str) -> Count | None:
        """Count one request for this subject of a limit; None while limits are disabled.

        An e-mail address, or anything else that must not be stored in Redis, is passed as its `hash_key`.

        Raises:
            RateLimited: it exceeds the limit.
        """
        if not self._enabled:
            return None
        limit = self._limits[name]
        count = await self._quotas.take_exactly(limit, subject) if limit.is_exact else self._quotas.take(limit, subject)
        return _admitted(count)

    def take_now(self, name: str, subject: str) -> Count | None:
        """As `take`, for limits that are not exact; does not block."""
        if not self._enabled:
            return None
        return _admitted(self._quotas.take(self._limits[name], subject))

    def check(self, name: str, subject: str) -> None:
        """Refuse if nothing is left, as far as is known here; count nothing. For limits that count failures only.

        Raises:
            RateLimited: see `take`.
        """
        if self._enabled:
            _admitted(self._quotas.look(self._limits[name], subject))


LIMITER: web.AppKey[RateLimiter] = web.AppKey("rate_limiter")
CLIENT_NETWORK: web.RequestKey[str] = web.RequestKey("client_network", str)
COUNT: web.RequestKey[Count | None] = web.RequestKey("count", object)  # type: ignore[arg-type]


def by_address(limiter: RateLimiter, trusted: Sequence[Network]) -> Guard:
    """Count each request for its client network, before authentication and whether or not it has a route."""

    async def limit(request: web.Request) -> None:
        network = request[CLIENT_NETWORK] = _client_network(request, trusted)
        if request.path not in HEALTH:
            request[COUNT] = limiter.take_now("address", network)

    return limit


def by_caller(limiter: RateLimiter) -> Guard:
    """Count each request for its user or its API key, and for the limit of its route if it has one.

    The limit of a route is shared by all keys of a user: more keys do not mean more requests.
    """

    async def limit(request: web.Request) -> None:
        operation = operations.of(request)
        if operation is None:
            return
        principal = request.get(PRINCIPAL)
        if principal is not None:
            request[COUNT] = limiter.take_now(*_subject(principal))
        if operation.limit is not None:
            subject = request[CLIENT_NETWORK] if principal is None else principal.user_id
            request[COUNT] = await limiter.take(operation.limit, subject)

    return limit


async def on_prepare(request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers of the narrowest limit that this request counted for."""
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


def client_network(request: web.Request) -> str:
    """The address of the client, or the /64 network of an IPv6 address: the unit that limits count."""
    return request[CLIENT_NETWORK]


def hash_key(text: str) -> str:
    """The hash of a text that must not be stored in Redis; the same for all spellings of an e-mail address."""
    return hashlib.sha256(text.strip().lower().encode()).hexdigest()[:32]


def refusal(count: Count) -> RateLimited:
    """The refusal of a request above its limit; counts it in the metrics."""
    metrics.RATE_LIMITED.labels(count.limit.name).inc()
    return RateLimited(headers=headers_of(count) | {"Retry-After": str(count.seconds)})


def _subject(principal: Principal) -> tuple[str, str]:
    return ("user", principal.user_id) if principal.scopes is None else ("key", principal.session_id)


def _admitted(count: Count) -> Count:
    if not count.fits:
        raise refusal(count)
    return count


def _client_network(request: web.Request, trusted: Sequence[Network]) -> str:
    peer = request.remote or ""
    if trusted:
        peer = client_of(peer, request.headers.getall("X-Forwarded-For", ()), trusted)
    return client_network_of(peer)
