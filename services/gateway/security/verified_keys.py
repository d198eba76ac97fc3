"""Verification of API keys: auth is queried once per key, and its result cached for as long as an access token would live.

The cache holds the hash of a key, never the key. A revoked key ends through the same list as sessions do: its id is in it within
a second. The first use in each hour is reported to auth in the background, for the audit log.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import web

from services.contracts import api_keys, limits
from services.contracts.api_keys import Scope
from services.contracts.refusal import OutcomeUnknown, Refusal, Unavailable
from services.contracts.refusals.auth import ApiKeyNotFound
from services.gateway.clients.auth import AuthClient
from services.gateway.errors import InvalidToken, KeyUnverified
from services.gateway.security import rate_limit
from services.gateway.security.authentication import Principal
from services.gateway.security.rate_limit import RateLimiter

WRONG_KEY = "wrong_key"
"""The limit of keys unknown to auth. Cached keys cause no query and are never refused by it."""

VERIFY_SECONDS = 2.0
CACHED_MAX = 20_000
UNKNOWN_MAX = 10_000
UNKNOWN_SECONDS = 10.0
"""How long a key unknown to auth is refused without another query. It cannot become known later: that would be a new key."""

RETRY_SECONDS = 1.0
"""How long after a failure a use is reported to auth again."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Cached:
    """A result of auth; both ends by the clock that never jumps."""

    principal: Principal
    ends_at: float
    stale_at: float


class VerifiedKeys:
    """Principals of API keys."""

    def __init__(self, auth: AuthClient, limiter: RateLimiter) -> None:
        self._auth = auth
        self._limiter = limiter
        self._cached: dict[bytes, _Cached] = {}
        self._unknown: dict[bytes, float] = {}
        self._queries: dict[bytes, asyncio.Task[_Cached]] = {}

    async def principal(self, key: str, request: web.Request) -> Principal:
        """The principal of this key. A malformed key is refused without a query; each wrong one counts for its address.

        Raises:
            InvalidToken: unknown, revoked, expired or malformed.
            RateLimited: too many wrong keys came from this address.
            KeyUnverified: auth is unavailable, and no result is cached.
        """
        if not api_keys.is_well_formed(key):
            raise InvalidToken
        key_hash = api_keys.hash_key(key)
        cached = self._cached.get(key_hash)
        now = time.monotonic()
        if cached is None or cached.ends_at <= now:
            return (await self._query(key_hash, request)).principal
        if cached.stale_at <= now:
            # Whether or not auth responds, its last result is valid until its end.
            cached.stale_at = now + RETRY_SECONDS
            self._start_query(key_hash)
        return cached.principal

    async def _query(self, key_hash: bytes, request: web.Request) -> _Cached:
        if self._unknown.get(key_hash, 0.0) > time.monotonic():
            raise InvalidToken
        address = rate_limit.client_network(request)
        self._limiter.check(WRONG_KEY, address)
        try:
            return await asyncio.shield(self._start_query(key_hash))
        except ApiKeyNotFound:
            await self._limiter.take(WRONG_KEY, address)
            raise InvalidToken from None

    def _start_query(self, key_hash: bytes) -> asyncio.Task[_Cached]:
        """Query auth, once for all concurrent requests with this key."""
        query = self._queries.get(key_hash)
        if query is None:
            query = self._queries[key_hash] = asyncio.create_task(self._verify(key_hash))
            query.add_done_callback(lambda task: self._finish_query(key_hash, task))
        return query

    def _finish_query(self, key_hash: bytes, task: asyncio.Task[_Cached]) -> None:
        del self._queries[key_hash]
        # Retrieve the exception, or the loop logs an error when no request awaits the task.
        if not task.cancelled() and task.exception() is not None:
            log.debug("api_key_not_verified", error=type(task.exception()).__name__)

    async def _verify(self, key_hash: bytes) -> _Cached:
        sent_at = time.monotonic()
        try:
            verified = await self._auth.verify_api_key(key_hash, seconds=VERIFY_SECONDS)
        except (Unavailable, OutcomeUnknown):
            raise KeyUnverified from None
        except Refusal as refusal:
            if refusal.code != ApiKeyNotFound.code:
                raise
            self._cached.pop(key_hash, None)
            _put(self._unknown, key_hash, sent_at + UNKNOWN_SECONDS, count_max=UNKNOWN_MAX)
            raise ApiKeyNotFound from None
        # Counted from before the query: the result must not outlive the key.
        seconds = min(float(verified["seconds"]), float(limits.ACCESS_TOKEN_SECONDS))
        cached = _Cached(
            _principal(verified, seconds), sent_at + seconds, sent_at + min(seconds, float(verified["fresh_seconds"]))
        )
        _put(self._cached, key_hash, cached, count_max=CACHED_MAX)
        return cached


def _principal(verified: dict[str, Any], seconds: float) -> Principal:
    return Principal(
        user_id=verified["user_id"],
        session_id=verified["api_key_id"],
        role=verified["role"],
        key_id="",
        ends_at=time.monotonic() + seconds,
        scopes=frozenset(Scope(scope) for scope in verified["scopes"]),
    )


def _put(cache: dict[bytes, Any], key_hash: bytes, value: Any, *, count_max: int) -> None:
    cache.pop(key_hash, None)
    if len(cache) >= count_max:
        del cache[next(iter(cache))]
    cache[key_hash] = value
