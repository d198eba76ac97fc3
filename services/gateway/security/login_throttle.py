"""Guesses at secrets: who guessed wrong waits, ever longer, wherever the account is guessed at and wherever from.

Wrong guesses are counted for the account at an address, for the account everywhere, and for the address over all accounts,
here and in Redis; the longer wait holds. Who logged in to the account from an address before is judged by the first count
alone, so that strangers cannot hold up an owner. Where from that was, auth knows; it is asked only when another count
would refuse.

A code of the second factor has only six digits. What carries one is judged by two stricter counts as well.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from services.chassis.client import Upstream
from services.contracts.refusal import OutcomeUnknown, Refusal
from services.gateway import errors
from services.gateway.cache import Cache, CacheUnavailable
from services.gateway.security import rate_limit
from services.gateway.security.login_rules import Rule, Tallies
from services.gateway.security.rate_limit_counters import Count, Limit
from services.gateway.upstreams import SIDE_SECONDS, attempt, call

PAIR = Rule("pair", free=5, memory_seconds=3600)
ACCOUNT = Rule("account", free=20, memory_seconds=3600)
ADDRESS = Rule("address", free=100, memory_seconds=900, parallel=128)
RULES = (PAIR, ACCOUNT, ADDRESS)

CODE_PAIR = Rule("code_pair", free=5, memory_seconds=24 * 3600, parallel=5, wait_seconds_max=900.0)
CODE = Rule("code", free=10, memory_seconds=24 * 3600, parallel=5, wait_seconds_max=900.0)
"""Some 100 codes a day, of which three in a million open: who knows the password and guesses for a year has one chance in ten."""

CODE_RULES = (CODE_PAIR, CODE)
OWN_RULES = (PAIR, CODE_PAIR)
"""Those by which alone is judged who logged in to the account from an address before."""

WRONG = Limit("wrong_login", PAIR.free, int(PAIR.memory_seconds))
"""How the rule is told in headers; what is behind it is more than that can say."""

KNOWN_SECONDS = 60.0
UNKNOWN_SECONDS = 5.0
"""How long auth's answers are kept: that a place is known, and that it is not."""

ANSWERS_MAX = 20_000

_ACT = """
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
"""The rule of `login_rules.py` where all gateways meet, by the clock of Redis. What is kept and cannot be is forgotten.

Asked whether a guess may be made: the wait of each key in ms; when all are 0, turns are taken. Or told of a wrong guess.
"""


class Guesses:
    """Lets guesses through, or tells how long to wait. Never open: this process counts for itself, whatever Redis does."""

    def __init__(self, cache: Cache, auth: Upstream, *, enabled: bool) -> None:
        self._cache = cache
        self._auth = auth
        self._enabled = enabled
        self._tallies = {rule: Tallies(rule) for rule in RULES + CODE_RULES}
        self._answers: OrderedDict[tuple[str, str], tuple[bool, float]] = OrderedDict()

    @asynccontextmanager
    async def login(self, email: str, place: str, *, with_code: bool = False) -> AsyncIterator[None]:
        """Around one login. What it raises tells what became of it, as in `one`."""
        account = rate_limit.pseudonym(email)
        async with self.one(account, place, with_code=with_code, email=email):
            yield
        if self._enabled:
            self._keep((account, place), known=True)

    @asynccontextmanager
    async def one(
        self, account: str, place: str, *, with_code: bool = False, email: str | None = None
    ) -> AsyncIterator[None]:
        """Around one check of a secret of this account, asked for from this place; `email` only where places are known.

        `with_code`: a code of the second factor is among what is shown.

        A refusal with a code of `errors.WRONG_GUESSES`, and no answer at all, count as wrong. Any other refusal counts as
        nothing. No exception counts as right.

        Raises:
            RateLimited: it has to wait; the secret was not looked at.
        """
        if not self._enabled:
            yield
            return
        keys = _keys(account, place, RULES + CODE_RULES if with_code else RULES)
        judged = await self._admit(keys, place, email)
        try:
            yield
        except BaseException as error:
            if (
                not isinstance(error, Refusal)
                or isinstance(error, OutcomeUnknown)
                or error.code in errors.WRONG_GUESSES
            ):
                await self._fail(keys)
            raise
        else:
            await self._forgive(keys)
        finally:
            for rule in judged:
                self._tallies[rule].end(keys[rule])

    async def _admit(self, keys: dict[Rule, str], place: str, email: str | None) -> Sequence[Rule]:
        """The rules that this guess is judged by, having taken its turn with each."""
        judged = tuple(keys)
        waits = self._own_waits(keys, judged)
        if not any(waits):
            waits = await self._ask(keys, judged)
        if any(waits):
            is_held_up = any(wait for rule, wait in zip(judged, waits, strict=True) if rule in OWN_RULES)
            if is_held_up or email is None or not await self._is_known(keys[ACCOUNT], place, email):
                raise _refusal(max(waits))
            judged = tuple(rule for rule in judged if rule in OWN_RULES)
            waits = await self._ask(keys, judged)
        # Once more, with nothing awaited before the turn is taken: many may have come this far together.
        waits = [*waits, *self._own_waits(keys, judged)]
        if any(waits):
            raise _refusal(max(waits))
        for rule in judged:
            self._tallies[rule].begin(keys[rule], time.monotonic())
        return judged

    def _own_waits(self, keys: dict[Rule, str], rules: Sequence[Rule]) -> list[float]:
        now = time.monotonic()
        return [self._tallies[rule].wait_seconds(keys[rule], now) for rule in rules]

    async def _ask(self, keys: dict[Rule, str], rules: Sequence[Rule]) -> list[float]:
        """The waits that all gateways together know of; none where Redis says nothing that can be."""
        answer = await self._act("ask", keys, rules)
        if not isinstance(answer, list) or len(answer) != len(rules):
            return [0.0] * len(rules)
        return [_plausible(wait, rule) for wait, rule in zip(answer, rules, strict=True)]

    async def _fail(self, keys: dict[Rule, str]) -> None:
        for rule, key in keys.items():
            self._tallies[rule].fail(key, time.monotonic())
        await self._act("fail", keys, tuple(keys))

    async def _forgive(self, keys: dict[Rule, str]) -> None:
        own = [rule for rule in keys if rule in OWN_RULES]
        for rule in own:
            self._tallies[rule].forgive(keys[rule])
        try:
            await self._cache.run(("DEL", *(_key(rule, keys[rule]) for rule in own)))
        except CacheUnavailable:
            return

    async def _act(self, action: str, keys: dict[Rule, str], rules: Sequence[Rule]) -> Any:
        arguments: list[str | int] = [action]
        for rule in rules:
            arguments += [rule.free, int(rule.memory_seconds * 1000), int(rule.wait_seconds_max * 1000)]
        names = [_key(rule, keys[rule]) for rule in rules]
        try:
            (answer,) = await self._cache.run(("EVAL", _ACT, len(names), *names, *arguments))
        except CacheUnavailable:
            return None
        return answer

    async def _is_known(self, account: str, place: str, email: str) -> bool:
        """Whether the account was logged in to from this place before. No, when auth does not say."""
        known, until = self._answers.get((account, place), (False, 0.0))
        if until > time.monotonic():
            return known
        asked = {"email": email, "address": place}
        answer = await attempt(call(self._auth, "POST", "/internal/known-locations", body=asked, seconds=SIDE_SECONDS))
        if not isinstance(answer, dict):
            return False
        self._keep((account, place), known=answer.get("known") is True)
        return answer.get("known") is True

    def _keep(self, question: tuple[str, str], *, known: bool) -> None:
        self._answers[question] = known, time.monotonic() + (KNOWN_SECONDS if known else UNKNOWN_SECONDS)
        self._answers.move_to_end(question)
        if len(self._answers) > ANSWERS_MAX:
            self._answers.popitem(last=False)


GUESSES: web.AppKey[Guesses] = web.AppKey("guesses")


def _keys(account: str, place: str, rules: Sequence[Rule]) -> dict[Rule, str]:
    pair = rate_limit.pseudonym(f"{account} {place}")
    names = {PAIR: pair, CODE_PAIR: pair, ACCOUNT: account, CODE: account, ADDRESS: place}
    return {rule: names[rule] for rule in rules}


def _key(rule: Rule, name: str) -> str:
    return f"payflow:guess:{rule.name}:{name}"


def _plausible(milliseconds: Any, rule: Rule) -> float:
    if not isinstance(milliseconds, int) or not 0 < milliseconds <= rule.wait_seconds_max * 1000:
        return 0.0
    return milliseconds / 1000


def _refusal(wait_seconds: float) -> errors.RateLimited:
    return rate_limit.refusal(Count(WRONG, fits=False, remaining=0, seconds=max(1, math.ceil(wait_seconds))))
