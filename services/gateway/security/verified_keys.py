"""API keys at the gateway: auth is asked about a key once, and its answer believed for as long as an access token would live.

What is remembered is the hash of a key, never the key. A revoked one ends through the same list as sessions do: its id is in
it within a second. The first use in each hour is told to auth, behind the back of the request, for the audit log.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import web

from services.chassis.client import Upstream
from services.contracts import api_keys
from services.contracts.api_keys import Scope
from services.contracts.refusal import OutcomeUnknown, Refusal, Unavailable
from services.contracts.refusals.auth import ApiKeyNotFound
from services.gateway.errors import InvalidToken, KeyUnverified
from services.gateway.security import rate_limit
from services.gateway.security.authentication import LIFETIME_SECONDS_MAX, Principal
from services.gateway.security.rate_limit import RateLimiter

WRONG_KEY = "wrong_key"
"""The limit of keys that auth did not know. Those that are known already are not asked about, and so never refused."""

ASK_SECONDS = 2.0
REMEMBERED_MAX = 20_000
MISSES_MAX = 10_000
MISS_SECONDS = 10.0
"""How long a key that auth does not know is refused without asking again. None becomes known later: it would be a new one."""

RETRY_SECONDS = 1.0
"""How long after auth did not answer it is told again of a use."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Remembered:
    """An answer of auth; both ends in seconds of the clock that never jumps."""

    principal: Principal
    ends_at: float
    stale_at: float


class VerifiedKeys:
    """Whom API keys speak for."""

    def __init__(self, auth: Upstream, limiter: RateLimiter) -> None:
        self._auth = auth
        self._limiter = limiter
        self._remembered: dict[bytes, _Remembered] = {}
        self._misses: dict[bytes, float] = {}
        self._asking: dict[bytes, asyncio.Task[_Remembered]] = {}

    async def principal(self, key: str, request: web.Request) -> Principal:
        """Whom this key speaks for. Keys that are none are refused here, and each wrong one counts for its address.

        Raises:
            InvalidToken: unknown, revoked, expired, or no key at all.
            RateLimited: too many wrong keys came from this address.
            KeyUnverified: auth is away, and nothing is remembered of this key.
        """
        if not api_keys.is_well_formed(key):
            raise InvalidToken
        key_hash = api_keys.hash_key(key)
        remembered = self._remembered.get(key_hash)
        now = time.monotonic()
        if remembered is None or remembered.ends_at <= now:
            return (await self._ask_for(key_hash, request)).principal
        if remembered.stale_at <= now:
            # Whether or not auth answers, what it said before holds until its end.
            remembered.stale_at = now + RETRY_SECONDS
            self._start_asking(key_hash)
        return remembered.principal

    async def _ask_for(self, key_hash: bytes, request: web.Request) -> _Remembered:
        if self._misses.get(key_hash, 0.0) > time.monotonic():
            raise InvalidToken
        address = rate_limit.address(request)
        self._limiter.check(WRONG_KEY, address)
        try:
            return await asyncio.shield(self._start_asking(key_hash))
        except ApiKeyNotFound:
            await self._limiter.take(WRONG_KEY, address)
            raise InvalidToken from None

    def _start_asking(self, key_hash: bytes) -> asyncio.Task[_Remembered]:
        """Ask auth, once for all who come with this key meanwhile."""
        asking = self._asking.get(key_hash)
        if asking is None:
            asking = self._asking[key_hash] = asyncio.create_task(self._ask(key_hash))
            asking.add_done_callback(lambda task: self._stop_asking(key_hash, task))
        return asking

    def _stop_asking(self, key_hash: bytes, task: asyncio.Task[_Remembered]) -> None:
        del self._asking[key_hash]
        # Read here, or the loop complains when nobody waited for it.
        if not task.cancelled() and task.exception() is not None:
            log.debug("api_key_not_verified", error=type(task.exception()).__name__)

    async def _ask(self, key_hash: bytes) -> _Remembered:
        asked_at = time.monotonic()
        try:
            answer = await self._auth.call(
                "POST", "/internal/api-keys/verify", body={"hash": key_hash.hex()}, seconds=ASK_SECONDS
            )
        except (Unavailable, OutcomeUnknown):
            raise KeyUnverified from None
        except Refusal as refusal:
            if refusal.code != ApiKeyNotFound.code:
                raise
            self._remembered.pop(key_hash, None)
            _put(self._misses, key_hash, asked_at + MISS_SECONDS, count_max=MISSES_MAX)
            raise ApiKeyNotFound from None
        # From before the question on: the answer must not live longer than the key.
        seconds = min(float(answer["seconds"]), float(LIFETIME_SECONDS_MAX))
        remembered = _Remembered(
            _principal(answer, seconds), asked_at + seconds, asked_at + min(seconds, float(answer["fresh_seconds"]))
        )
        _put(self._remembered, key_hash, remembered, count_max=REMEMBERED_MAX)
        return remembered


def _principal(answer: Any, seconds: float) -> Principal:
    return Principal(
        user_id=answer["user_id"],
        session_id=answer["api_key_id"],
        role=answer["role"],
        key_id="",
        ends_at=time.monotonic() + seconds,
        scopes=frozenset(Scope(scope) for scope in answer["scopes"]),
    )


def _put(memory: dict[bytes, Any], key_hash: bytes, value: Any, *, count_max: int) -> None:
    memory.pop(key_hash, None)
    if len(memory) >= count_max:
        del memory[next(iter(memory))]
    memory[key_hash] = value
