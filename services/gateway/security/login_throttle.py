"""Throttling of login attempts: failures delay further attempts, ever longer, per account and per address.

Failures are counted for the account at an address, for the account everywhere, and for the address over all accounts, here and
in Redis; the longest wait applies. For an address where the account logged in before, only the first counter applies, so that
attackers cannot lock out the owner. Auth knows these addresses; it is queried only when another counter would refuse.

A code of the second factor has only six digits. Attempts with a code are subject to two stricter counters as well.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from services.contracts.refusal import OutcomeUnknown, Refusal
from services.gateway import errors
from services.gateway.cache import Cache, CacheUnavailable
from services.gateway.clients import service
from services.gateway.clients.auth import AuthClient
from services.gateway.security import rate_limit
from services.gateway.security.login_rules import FailureCounters, Rule
from services.gateway.security.rate_limit_counters import Count, Limit

PAIR = Rule("pair", free=5, memory_seconds=3600)
ACCOUNT = Rule("account", free=20, memory_seconds=3600)
ADDRESS = Rule("address", free=100, memory_seconds=900, parallel=128)
RULES = (PAIR, ACCOUNT, ADDRESS)

CODE_PAIR = Rule("code_pair", free=5, memory_seconds=24 * 3600, parallel=5, wait_seconds_max=900.0)
CODE = Rule("code", free=10, memory_seconds=24 * 3600, parallel=5, wait_seconds_max=900.0)
"""About 100 codes a day, of which 3 in a million are valid: a year of attempts with the right password succeeds in 10 %."""

CODE_RULES = (CODE_PAIR, CODE)
KNOWN_LOCATION_RULES = (PAIR, CODE_PAIR)
"""The rules that apply at an address where the account logged in before."""

WRONG = Limit("wrong_login", PAIR.free, int(PAIR.memory_seconds))
"""The rule as shown in headers, which cannot express all of it."""

KNOWN_SECONDS = 60.0
UNKNOWN_SECONDS = 5.0
"""How long auth's results are cached: that a location is known, and that it is not."""

LOCATIONS_MAX = 20_000

_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local failing = ARGV[1] == 'fail'
local failures, untils, waits, refused = {}, {}, {}, false
local function wait_after(count, free, longest)
    if count < free then return 0 end
    return math.min(2 ^ math.min(count - free, 40) * 1000, longest)
end
for i, key in ipairs(KEYS) do
    local longest = tonumber(ARGV[3 * i + 1])
    local kept = redis.pcall('GET', key)
    local count, till
    if type(kept) == 'string' and #kept < 40 then
        count, till = string.match(kept, '^(%d+):(%d+)$')
        count, till = tonumber(count or ''), tonumber(till or '')
    end
    if not count or not till or count > 1000000 or till > now + longest or redis.call('PTTL', key) < 0 then
        if kept then redis.call('DEL', key) end
        count, till = 0, 0
    end
    failures[i], untils[i], waits[i] = count, till, math.max(0, till - now)
    refused = refused or waits[i] > 0
end
for i, key in ipairs(KEYS) do
    local free, memory, longest = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1])
    local count = failures[i]
    if failing then
        local till = math.max(untils[i], now + wait_after(count + 1, free, longest))
        redis.call('SET', key, string.format('%d:%d', count + 1, till), 'PX', memory)
    elseif not refused and count >= free then
        redis.call('SET', key, string.format('%d:%d', count, now + wait_after(count, free, longest)), 'KEEPTTL')
    end
end
return waits
"""
"""The rules of `login_rules.py` for all gateways together, by the clock of Redis. Invalid values are discarded.

`check`: returns the wait of each key in ms; if all are 0, the attempt is admitted. `fail`: counts a failed attempt.
"""


class LoginThrottle:
    """Admits login attempts or refuses them with a wait. It always limits: this process counts for itself, without Redis too."""

    def __init__(self, cache: Cache, auth: AuthClient, *, enabled: bool) -> None:
        self._cache = cache
        self._auth = auth
        self._enabled = enabled
        self._counters = {rule: FailureCounters(rule) for rule in RULES + CODE_RULES}
        self._locations: OrderedDict[tuple[str, str], tuple[bool, float]] = OrderedDict()

    @asynccontextmanager
    async def login(self, email: str, address: str, *, with_code: bool = False) -> AsyncIterator[None]:
        """Around one login; as `attempt`."""
        account = rate_limit.hash_key(email)
        async with self.attempt(account, address, with_code=with_code, email=email):
            yield
        if self._enabled:
            self._cache_location((account, address), known=True)

    @asynccontextmanager
    async def attempt(
        self, account: str, address: str, *, with_code: bool = False, email: str | None = None
    ) -> AsyncIterator[None]:
        """Around one check of a password or code of this account; `email` only where known locations matter.

        `with_code`: a code of the second factor is checked as well.

        A refusal with a code of `errors.FAILED_LOGINS`, and no response at all, count as a failure. Any other refusal counts as
        nothing. No exception counts as success.

        Raises:
            RateLimited: the attempt has to wait; nothing was checked.
        """
        if not self._enabled:
            yield
            return
        keys = _keys(account, address, RULES + CODE_RULES if with_code else RULES)
        applied = await self._admit(keys, address, email)
        try:
            yield
        except BaseException as error:
            if (
                not isinstance(error, Refusal)
                or isinstance(error, OutcomeUnknown)
                or error.code in errors.FAILED_LOGINS
            ):
                await self._fail(keys)
            raise
        else:
            await self._reset(keys)
        finally:
            for rule in applied:
                self._counters[rule].end(keys[rule])

    async def _admit(self, keys: dict[Rule, str], address: str, email: str | None) -> Sequence[Rule]:
        """Admit the attempt; the rules that were applied."""
        applied = tuple(keys)
        waits = self._own_waits(keys, applied)
        if not any(waits):
            waits = await self._shared_waits(keys, applied)
        if any(waits):
            is_delayed = any(wait for rule, wait in zip(applied, waits, strict=True) if rule in KNOWN_LOCATION_RULES)
            if is_delayed or email is None or not await self._is_known(keys[ACCOUNT], address, email):
                raise _refusal(max(waits))
            applied = tuple(rule for rule in applied if rule in KNOWN_LOCATION_RULES)
            waits = await self._shared_waits(keys, applied)
        # Checked again without an await before `begin`: concurrent attempts may have come this far together.
        waits = [*waits, *self._own_waits(keys, applied)]
        if any(waits):
            raise _refusal(max(waits))
        for rule in applied:
            self._counters[rule].begin(keys[rule], time.monotonic())
        return applied

    def _own_waits(self, keys: dict[Rule, str], rules: Sequence[Rule]) -> list[float]:
        now = time.monotonic()
        return [self._counters[rule].wait_seconds(keys[rule], now) for rule in rules]

    async def _shared_waits(self, keys: dict[Rule, str], rules: Sequence[Rule]) -> list[float]:
        """The waits counted by all gateways together; none if Redis returns nothing valid."""
        waits = await self._run_script("check", keys, rules)
        if not isinstance(waits, list) or len(waits) != len(rules):
            return [0.0] * len(rules)
        return [_plausible(wait, rule) for wait, rule in zip(waits, rules, strict=True)]

    async def _fail(self, keys: dict[Rule, str]) -> None:
        for rule, key in keys.items():
            self._counters[rule].fail(key, time.monotonic())
        await self._run_script("fail", keys, tuple(keys))

    async def _reset(self, keys: dict[Rule, str]) -> None:
        rules = [rule for rule in keys if rule in KNOWN_LOCATION_RULES]
        for rule in rules:
            self._counters[rule].reset(keys[rule])
        try:
            await self._cache.run(("DEL", *(_cache_key(rule, keys[rule]) for rule in rules)))
        except CacheUnavailable:
            return

    async def _run_script(self, mode: str, keys: dict[Rule, str], rules: Sequence[Rule]) -> Any:
        arguments: list[str | int] = [mode]
        for rule in rules:
            arguments += [rule.free, int(rule.memory_seconds * 1000), int(rule.wait_seconds_max * 1000)]
        names = [_cache_key(rule, keys[rule]) for rule in rules]
        try:
            (result,) = await self._cache.run(("EVAL", _SCRIPT, len(names), *names, *arguments))
        except CacheUnavailable:
            return None
        return result

    async def _is_known(self, account: str, address: str, email: str) -> bool:
        """Whether the account logged in from this address before. False if auth does not respond."""
        known, until = self._locations.get((account, address), (False, 0.0))
        if until > time.monotonic():
            return known
        result = await service.attempt(self._auth.is_known_location(email=email, address=address))
        if result is None:
            return False
        self._cache_location((account, address), known=result)
        return result

    def _cache_location(self, location: tuple[str, str], *, known: bool) -> None:
        self._locations[location] = known, time.monotonic() + (KNOWN_SECONDS if known else UNKNOWN_SECONDS)
        self._locations.move_to_end(location)
        if len(self._locations) > LOCATIONS_MAX:
            self._locations.popitem(last=False)


LOGIN_THROTTLE: web.AppKey[LoginThrottle] = web.AppKey("login_throttle")


def _keys(account: str, address: str, rules: Sequence[Rule]) -> dict[Rule, str]:
    pair = rate_limit.hash_key(f"{account} {address}")
    names = {PAIR: pair, CODE_PAIR: pair, ACCOUNT: account, CODE: account, ADDRESS: address}
    return {rule: names[rule] for rule in rules}


def _cache_key(rule: Rule, name: str) -> str:
    return f"payflow:login-failures:{rule.name}:{name}"


def _plausible(milliseconds: Any, rule: Rule) -> float:
    if not isinstance(milliseconds, int) or not 0 < milliseconds <= rule.wait_seconds_max * 1000:
        return 0.0
    return milliseconds / 1000


def _refusal(wait_seconds: float) -> errors.RateLimited:
    return rate_limit.refusal(Count(WRONG, fits=False, remaining=0, seconds=max(1, math.ceil(wait_seconds))))
