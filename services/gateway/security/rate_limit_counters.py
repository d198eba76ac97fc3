"""Quotas of rate limits, counted here at once and shared with all other gateways through Redis a moment later.

Counting does not block. The local count is added to the last known count of the other gateways; a sync sends every quota that
changed since the last one to Redis and returns the sums. Without Redis each gateway counts for itself, and so it does for a quota
whose value in Redis is not plausible.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.gateway.cache import Cache, CacheUnavailable

QUOTAS_MAX = 20_000
"""So many quotas of one limit a process keeps; the oldest are evicted first."""

SYNC_EVERY_SECONDS = 0.1
"""The pause between two syncs: the delay until another gateway knows a count."""

SYNC_MAX = 256
PLAUSIBLE_FACTOR = 1000
"""No valid sum is so many times the limit: refused requests are not counted."""

_ADD = """
local results = {}
for i, key in ipairs(KEYS) do
    local delta, span, most = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
    local sum = redis.pcall('INCRBY', key, delta)
    if type(sum) ~= 'number' or sum < delta or sum > most then
        redis.call('SET', key, delta, 'PX', span)
        sum = delta
    end
    local left = redis.call('PTTL', key)
    if left < 0 or left > span then
        redis.call('PEXPIRE', key, span)
        left = span
    end
    results[2 * i - 1], results[2 * i] = sum, left
end
return results
"""
"""Adds to every sum and returns it with the time left in ms. A quota starts with its first count; invalid values are replaced."""


@dataclass(frozen=True, slots=True)
class Limit:
    """`amount` requests in `seconds`. `is_exact`: each is counted for all gateways together before it is admitted."""

    name: str
    amount: int
    seconds: int
    is_exact: bool = False


@dataclass(frozen=True, slots=True)
class Count:
    """The state of a quota after a request: whether it fits, how many are left, and in how many seconds the quota ends."""

    limit: Limit
    fits: bool
    remaining: int
    seconds: int


@dataclass(slots=True)
class _Quota:
    key: str
    limit: Limit
    began_at: float
    ends_at: float
    may_end_early: bool = True
    own: int = 0
    sent: int = 0
    others: int = 0
    is_pending: bool = False

    @property
    def sum(self) -> int:
        return self.own + self.others


class Quotas:
    """The quotas of all limits. Times are those of the monotonic clock."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._quotas: dict[str, dict[str, _Quota]] = {}
        self._changed: list[_Quota] = []
        self._sync: asyncio.Task[None] | None = None

    def take(self, limit: Limit, subject: str) -> Count:
        """Count one request, unless it would exceed the limit. Does not block."""
        quota = self._quota(limit, subject)
        if quota.sum >= limit.amount:
            return _count(quota, fits=False)
        quota.own += 1
        if not quota.is_pending:
            quota.is_pending = True
            self._changed.append(quota)
            if self._sync is None or self._sync.done():
                self._sync = asyncio.create_task(self._run_sync())
        return _count(quota, fits=True)

    def look(self, limit: Limit, subject: str) -> Count:
        """Whether one more request would fit, as far as is known here; nothing is counted."""
        quota = self._quota(limit, subject)
        return _count(quota, fits=quota.sum < limit.amount)

    async def take_exactly(self, limit: Limit, subject: str) -> Count:
        """As `take`, but counted in Redis first: all gateways together admit no more than the limit."""
        quota = self._quota(limit, subject)
        if quota.sum >= limit.amount:
            return _count(quota, fits=False)
        quota.own += 1
        (total,) = await self._add([quota])
        return _count(quota, fits=(quota.sum if total is None else total) <= limit.amount)

    async def close(self) -> None:
        """Drop counts that were not sent yet."""
        if self._sync is not None:
            self._sync.cancel()

    def _quota(self, limit: Limit, subject: str) -> _Quota:
        quotas = self._quotas.setdefault(limit.name, {})
        now = time.monotonic()
        quota = quotas.get(subject)
        if quota is not None and quota.ends_at > now:
            return quota
        may_end_early = True
        if quota is not None:
            # Redis reports when a quota ends that another gateway started. This is accepted only once in a while: otherwise a
            # wrong value would end every quota at once, and with it what was counted here.
            may_end_early = now - quota.began_at >= limit.seconds / 2
            del quotas[subject]
        elif len(quotas) >= QUOTAS_MAX:
            # A dictionary keeps the order of insertion, and all of these last equally long: the first ends first.
            del quotas[next(iter(quotas))]
        quota = quotas[subject] = _Quota(
            f"payflow:rate:{limit.name}:{subject}", limit, now, now + limit.seconds, may_end_early
        )
        return quota

    async def _run_sync(self) -> None:
        while self._changed:
            changed, self._changed = self._changed, []
            for quota in changed:
                quota.is_pending = False
            for start in range(0, len(changed), SYNC_MAX):
                await self._add(changed[start : start + SYNC_MAX])
            await asyncio.sleep(SYNC_EVERY_SECONDS)

    async def _add(self, quotas: Sequence[_Quota]) -> list[int | None]:
        """Send unsent counts to Redis; the sum of each quota, None where Redis returns none."""
        arguments: list[str | int] = []
        for quota in quotas:
            limit = quota.limit
            arguments += [quota.own - quota.sent, limit.seconds * 1000, limit.amount * PLAUSIBLE_FACTOR]
        # Whatever the response: sending a count again could count it twice, and the own counts are known anyway.
        for quota in quotas:
            quota.sent = quota.own
        try:
            (result,) = await self._cache.run(("EVAL", _ADD, len(quotas), *(each.key for each in quotas), *arguments))
        except CacheUnavailable:
            result = None
        if not isinstance(result, list) or len(result) != 2 * len(quotas):
            return [None] * len(quotas)
        return [_absorb(quota, *result[2 * index : 2 * index + 2]) for index, quota in enumerate(quotas)]


def _absorb(quota: _Quota, total: Any, left_milliseconds: Any) -> int | None:
    if not (isinstance(total, int) and isinstance(left_milliseconds, int)):
        return None
    if not 0 <= total <= quota.limit.amount * PLAUSIBLE_FACTOR:
        return None
    quota.others = max(0, total - quota.sent)
    if quota.may_end_early and left_milliseconds >= 0:
        quota.ends_at = min(quota.ends_at, time.monotonic() + left_milliseconds / 1000)
    return total


def _count(quota: _Quota, *, fits: bool) -> Count:
    seconds = max(1, math.ceil(quota.ends_at - time.monotonic()))
    return Count(quota.limit, fits, max(0, quota.limit.amount - quota.sum), seconds)
