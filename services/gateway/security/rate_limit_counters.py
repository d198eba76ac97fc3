"""What is left of limits: counted here at once, and with all other gateways through Redis a moment later.

Whoever counts waits for nobody. What was counted here is added to what the others are known to have counted; a flight to
Redis takes along every allowance that changed since the last one, and brings back the sums. Without Redis each gateway
counts for itself, and so it does for an allowance about which Redis says what cannot be.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.gateway.cache import Cache, CacheUnavailable

ALLOWANCES_MAX = 20_000
"""So many allowances of one limit a process keeps; the oldest go first."""

SYNC_EVERY_SECONDS = 0.1
"""The pause between two flights: so much later another gateway may know."""

FLIGHT_MAX = 256
PLAUSIBLE_FACTOR = 1000
"""No sum of honest gateways is so many times the limit: what is refused is not counted."""

_ADD = """
local answers = {}
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
    answers[2 * i - 1], answers[2 * i] = sum, left
end
return answers
"""
"""Adds to every sum and tells it with the time left, in ms; an allowance begins with its first count. Nonsense is replaced."""


@dataclass(frozen=True, slots=True)
class Limit:
    """So many in so many seconds; `is_exact`: each is counted with all gateways before it is let through."""

    name: str
    amount: int
    seconds: int
    is_exact: bool = False


@dataclass(frozen=True, slots=True)
class Count:
    """Where an allowance stands after one was asked for: whether it fits, how many are left, in how many seconds it ends."""

    limit: Limit
    fits: bool
    remaining: int
    seconds: int


@dataclass(slots=True)
class _Allowance:
    key: str
    limit: Limit
    began_at: float
    ends_at: float
    may_end_early: bool = True
    own: int = 0
    sent: int = 0
    others: int = 0
    is_waiting: bool = False

    @property
    def sum(self) -> int:
        return self.own + self.others


class Allowances:
    """The allowances of all limits. Times are those of the monotonic clock."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._allowances: dict[str, dict[str, _Allowance]] = {}
        self._changed: list[_Allowance] = []
        self._flight: asyncio.Task[None] | None = None

    def take(self, limit: Limit, who: str) -> Count:
        """Count one, unless it would be one too many. Waits for nothing."""
        allowance = self._allowance(limit, who)
        if allowance.sum >= limit.amount:
            return _count(allowance, fits=False)
        allowance.own += 1
        if not allowance.is_waiting:
            allowance.is_waiting = True
            self._changed.append(allowance)
            if self._flight is None or self._flight.done():
                self._flight = asyncio.create_task(self._fly())
        return _count(allowance, fits=True)

    def look(self, limit: Limit, who: str) -> Count:
        """Whether one more would fit, as far as is known here; nothing is counted."""
        allowance = self._allowance(limit, who)
        return _count(allowance, fits=allowance.sum < limit.amount)

    async def take_exactly(self, limit: Limit, who: str) -> Count:
        """As `take`, but counted by Redis first: of all gateways together not one too many is let through."""
        allowance = self._allowance(limit, who)
        if allowance.sum >= limit.amount:
            return _count(allowance, fits=False)
        allowance.own += 1
        (total,) = await self._add([allowance])
        return _count(allowance, fits=(allowance.sum if total is None else total) <= limit.amount)

    async def close(self) -> None:
        """Drop what was not told yet."""
        if self._flight is not None:
            self._flight.cancel()

    def _allowance(self, limit: Limit, who: str) -> _Allowance:
        allowances = self._allowances.setdefault(limit.name, {})
        now = time.monotonic()
        allowance = allowances.get(who)
        if allowance is not None and allowance.ends_at > now:
            return allowance
        may_end_early = True
        if allowance is not None:
            # Redis tells when an allowance ends that another gateway began. It is believed only once in a while: else one that
            # lies would end every allowance at once, and forget with it what was counted here.
            may_end_early = now - allowance.began_at >= limit.seconds / 2
            del allowances[who]
        elif len(allowances) >= ALLOWANCES_MAX:
            # A dictionary keeps the order, and all of these are equally long: the first ends first.
            del allowances[next(iter(allowances))]
        allowance = allowances[who] = _Allowance(
            f"payflow:rate:{limit.name}:{who}", limit, now, now + limit.seconds, may_end_early
        )
        return allowance

    async def _fly(self) -> None:
        while self._changed:
            changed, self._changed = self._changed, []
            for allowance in changed:
                allowance.is_waiting = False
            for start in range(0, len(changed), FLIGHT_MAX):
                await self._add(changed[start : start + FLIGHT_MAX])
            await asyncio.sleep(SYNC_EVERY_SECONDS)

    async def _add(self, allowances: Sequence[_Allowance]) -> list[int | None]:
        """Tell Redis what it was not told yet; the sum of each allowance, None where Redis knows none."""
        arguments: list[str | int] = []
        for allowance in allowances:
            limit = allowance.limit
            arguments += [allowance.own - allowance.sent, limit.seconds * 1000, limit.amount * PLAUSIBLE_FACTOR]
        # Whether or not an answer comes: what was told late or twice would count double, and our own counts we know anyway.
        for allowance in allowances:
            allowance.sent = allowance.own
        try:
            (answer,) = await self._cache.run(
                ("EVAL", _ADD, len(allowances), *(each.key for each in allowances), *arguments)
            )
        except CacheUnavailable:
            answer = None
        if not isinstance(answer, list) or len(answer) != 2 * len(allowances):
            return [None] * len(allowances)
        return [_absorb(allowance, *answer[2 * index : 2 * index + 2]) for index, allowance in enumerate(allowances)]


def _absorb(allowance: _Allowance, total: Any, left_milliseconds: Any) -> int | None:
    if not (isinstance(total, int) and isinstance(left_milliseconds, int)):
        return None
    if not 0 <= total <= allowance.limit.amount * PLAUSIBLE_FACTOR:
        return None
    allowance.others = max(0, total - allowance.sent)
    if allowance.may_end_early and left_milliseconds >= 0:
        allowance.ends_at = min(allowance.ends_at, time.monotonic() + left_milliseconds / 1000)
    return total


def _count(allowance: _Allowance, *, fits: bool) -> Count:
    seconds = max(1, math.ceil(allowance.ends_at - time.monotonic()))
    return Count(allowance.limit, fits, max(0, allowance.limit.amount - allowance.sum), seconds)
