"""How often: fixed windows counted in Redis for all gateways together, in this process alone while Redis is away."""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from aiohttp import web
from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, Storage
from limits.aio.strategies import FixedWindowRateLimiter

from services.chassis.problems import Handler
from services.gateway import metrics, operations
from services.gateway.authentication import PRINCIPAL
from services.gateway.cache import Cache, CacheAway
from services.gateway.errors import RateLimited


@dataclass(frozen=True, slots=True)
class Limit:
    """So many requests in a window, of one user or of one address."""

    name: str
    item: RateLimitItem


def _per_minute(name: str, amount: int, minutes: int = 1) -> Limit:
    assert name in metrics.RATE_LIMITS
    return Limit(name, RateLimitItemPerMinute(amount, minutes, namespace=f"payflow:rate:{name}"))


DEFAULT = _per_minute("default", 6000)
LOGIN = _per_minute("login", 120)
REGISTER = _per_minute("register", 120)
RECIPIENTS = _per_minute("recipients", 60)
LETTERS = _per_minute("letters", 20, minutes=10)
"""Letters asked for: by one user, or from one address. What one mailbox gets is limited by auth, whoever asks."""

LETTER_TOKENS = _per_minute("letter_tokens", 60)
WRONG_LOGIN = _per_minute("wrong_login", 10, minutes=5)
"""Wrong passwords from one address for one e-mail address: a stranger elsewhere locks nobody out."""

WRONG_KEY = _per_minute("wrong_key", 30)
"""API keys that auth did not know, from one address. Those that are known already are not asked about, and so never refused."""

LIMITS = MappingProxyType(
    {limit.name: limit for limit in (DEFAULT, LOGIN, REGISTER, RECIPIENTS, LETTERS, LETTER_TOKENS)}
)
"""Those that an operation may name."""


class SharedCounters(Storage):
    """The counters in Redis, through the cache's shared round trips."""

    STORAGE_SCHEME = None

    def __init__(self, cache: Cache) -> None:
        super().__init__()
        self._cache = cache

    @property
    def base_exceptions(self) -> type[Exception]:
        """What this storage raises when it cannot count."""
        return CacheAway

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count up; the window begins with the first count and ends `expiry` seconds later."""
        count, _ = await self._cache.run(("INCRBY", key, amount), ("EXPIRE", key, expiry, "NX"))
        return int(count)

    async def get(self, key: str) -> int:
        """The count of the window that runs, else 0."""
        (count,) = await self._cache.run(("GET", key))
        return int(count or 0)

    async def get_expiry(self, key: str) -> float:
        """When the window ends (Unix time); now, when none runs."""
        (seconds,) = await self._cache.run(("TTL", key))
        return time.time() + max(int(seconds), 0)

    async def check(self) -> bool:
        """Whether Redis answers."""
        try:
            await self._cache.run(("PING",))
        except CacheAway:
            return False
        return True

    async def reset(self) -> int | None:
        """Counters of others share this Redis: nothing is reset at once."""
        return None

    async def clear(self, key: str) -> None:
        """Start the window anew."""
        await self._cache.run(("DEL", key))


class RateLimiter:
    """Counts and refuses. Never unlimited: without Redis each gateway counts for itself."""

    def __init__(self, cache: Cache, *, enabled: bool) -> None:
        self._enabled = enabled
        self._shared = FixedWindowRateLimiter(SharedCounters(cache))
        self._local = FixedWindowRateLimiter(MemoryStorage())

    async def take(self, limit: Limit, *who: str) -> None:
        """Count one.

        Raises:
            RateLimited: it was one too many.
        """
        if not self._enabled:
            return
        try:
            fits = await self._shared.hit(limit.item, *who)
        except (CacheAway, ValueError):
            fits = await self._local.hit(limit.item, *who)
        if not fits:
            raise await self._refusal(limit, *who)

    async def check(self, limit: Limit, *who: str) -> None:
        """Count nothing.

        Raises:
            RateLimited: one more would be too many.
        """
        if not self._enabled:
            return
        try:
            fits = await self._shared.test(limit.item, *who)
        except (CacheAway, ValueError):
            fits = await self._local.test(limit.item, *who)
        if not fits:
            raise await self._refusal(limit, *who)

    async def count(self, limit: Limit, *who: str) -> None:
        """Count one that was let through already."""
        if not self._enabled:
            return
        try:
            await self._shared.hit(limit.item, *who)
        except (CacheAway, ValueError):
            await self._local.hit(limit.item, *who)

    async def _refusal(self, limit: Limit, *who: str) -> RateLimited:
        metrics.RATE_LIMITED.labels(limit.name).inc()
        try:
            reset_at, remaining = await self._shared.get_window_stats(limit.item, *who)
        except (CacheAway, ValueError):
            reset_at, remaining = await self._local.get_window_stats(limit.item, *who)
        seconds = max(1, math.ceil(reset_at - time.time()))
        return RateLimited(
            headers={
                "Retry-After": str(seconds),
                "RateLimit": f'"{limit.name}";r={max(0, remaining)};t={seconds}',
                "RateLimit-Policy": f'"{limit.name}";q={limit.item.amount};w={limit.item.get_expiry()}',
            }
        )


LIMITER: web.AppKey[RateLimiter] = web.AppKey("rate_limiter")


def middleware(limiter: RateLimiter) -> Any:
    """Count each request for its user, or for its address where nobody is known."""

    @web.middleware
    async def limit(request: web.Request, handler: Handler) -> web.StreamResponse:
        operation = operations.of(request)
        if operation is not None:
            principal = request.get(PRINCIPAL)
            await limiter.take(LIMITS[operation.limit], principal.limited_as if principal else address(request))
        return await handler(request)

    return limit


def address(request: web.Request) -> str:
    """Where the request came from: the peer of the connection, whatever the request says about itself."""
    return request.remote or "unknown"


def pseudonym(text: str) -> str:
    """A stand-in for a text that must not stand in Redis, such as an e-mail address."""
    return hashlib.sha256(text.strip().lower().encode()).hexdigest()[:32]
