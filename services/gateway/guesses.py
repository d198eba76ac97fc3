"""Guesses at secrets: who guessed wrong waits, ever longer, wherever the account is guessed at and wherever from.

Wrong guesses are counted for the account at an address, for the account everywhere, and for the address over all accounts,
here and in Redis; the longer wait holds. Who logged in to the account from an address before is judged by the first count
alone, so that strangers cannot hold up an owner. Where from that was, auth knows; it is asked only when another count
would refuse.
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
from services.gateway import errors, rate_limit
from services.gateway.allowances import Count, Limit
from services.gateway.cache import Cache, CacheAway
from services.gateway.throttle import WAIT_SECONDS_MAX, Rule, Tallies
from services.gateway.upstreams import SIDE_SECONDS, attempt, call

PAIR = Rule("pair", free=5, memory_seconds=3600)
ACCOUNT = Rule("account", free=20, memory_seconds=3600)
ADDRESS = Rule("address", free=100, memory_seconds=900, parallel=128)
RULES = (PAIR, ACCOUNT, ADDRESS)

WRONG = Limit("wrong_login", PAIR.free, int(PAIR.memory_seconds))
"""How the rule is told in headers; what is behind it is more than that can say."""

KNOWN_SECONDS = 60.0
UNKNOWN_SECONDS = 5.0
"""How long auth's answers are kept: that a place is known, and that it is not."""

ANSWERS_MAX = 20_000

_ACT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local failing, longest = ARGV[1] == 'fail', tonumber(ARGV[2])
local failures, untils, waits, refused = {}, {}, {}, false
local function wait_after(count, free)
    if count < free then return 0 end
    return math.min(2 ^ math.min(count - free, 40) * 1000, longest)
end
for i, key in ipairs(KEYS) do
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
    local free, memory = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2])
    local count = failures[i]
    if failing then
        local till = math.max(untils[i], now + wait_after(count + 1, free))
        redis.call('SET', key, string.format('%d:%d', count + 1, till), 'PX', memory)
    elseif not refused and count >= free then
        redis.call('SET', key, string.format('%d:%d', count, now + wait_after(count, free)), 'KEEPTTL')
    end
end
return waits
"""
"""The rule of `throttle.py` where all gateways meet, by the clock of Redis. What is kept and cannot be is forgotten.

Asked whether a guess may be made: the wait of each key in ms; when all are 0, turns are taken. Or told of a wrong guess.
"""


class Guesses:
    """Lets guesses through, or tells how long to wait. Never open: this process counts for itself, whatever Redis does."""

    def __init__(self, cache: Cache, auth: Upstream, *, enabled: bool) -> None:
        self._cache = cache
        self._auth = auth
        self._enabled = enabled
        self._tallies = {rule: Tallies(rule) for rule in RULES}
        self._answers: OrderedDict[tuple[str, str], tuple[bool, float]] = OrderedDict()

    @asynccontextmanager
    async def login(self, email: str, place: str) -> AsyncIterator[None]:
        """Around one login. What it raises tells what became of it, as in `one`."""
        account = rate_limit.pseudonym(email)
        async with self.one(account, place, email=email):
            yield
        if self._enabled:
            self._keep((account, place), known=True)

    @asynccontextmanager
    async def one(self, account: str, place: str, *, email: str | None = None) -> AsyncIterator[None]:
        """Around one check of a secret of this account, asked for from this place; `email` only where places are known.

        A refusal with a code of `errors.WRONG_GUESSES`, and no answer at all, count as wrong. Any other refusal counts as
        nothing. No exception counts as right.

        Raises:
            RateLimited: it has to wait; the secret was not looked at.
        """
        if not self._enabled:
            yield
            return
        keys = {PAIR: rate_limit.pseudonym(f"{account} {place}"), ACCOUNT: account, ADDRESS: place}
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
            await self._forgive(keys[PAIR])
        finally:
            for rule in judged:
                self._tallies[rule].end(keys[rule])

    async def _admit(self, keys: dict[Rule, str], place: str, email: str | None) -> Sequence[Rule]:
        """The rules that this guess is judged by, having taken its turn with each."""
        judged: Sequence[Rule] = RULES
        waits = self._own_waits(keys, RULES)
        if not any(waits):
            waits = await self._ask(keys, RULES)
        if any(waits):
            if waits[0] or email is None or not await self._is_known(keys[ACCOUNT], place, email):
                raise _refusal(max(waits))
            judged = (PAIR,)
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
        return [_plausible(wait) for wait in answer]

    async def _fail(self, keys: dict[Rule, str]) -> None:
        for rule in RULES:
            self._tallies[rule].fail(keys[rule], time.monotonic())
        await self._act("fail", keys, RULES)

    async def _forgive(self, pair: str) -> None:
        self._tallies[PAIR].forgive(pair)
        try:
            await self._cache.run(("DEL", _key(PAIR, pair)))
        except CacheAway:
            return

    async def _act(self, act: str, keys: dict[Rule, str], rules: Sequence[Rule]) -> Any:
        arguments: list[str | int] = [act, int(WAIT_SECONDS_MAX * 1000)]
        for rule in rules:
            arguments += [rule.free, int(rule.memory_seconds * 1000)]
        names = [_key(rule, keys[rule]) for rule in rules]
        try:
            (answer,) = await self._cache.run(("EVAL", _ACT, len(names), *names, *arguments))
        except CacheAway:
            return None
        return answer

    async def _is_known(self, account: str, place: str, email: str) -> bool:
        """Whether the account was logged in to from this place before. No, when auth does not say."""
        known, until = self._answers.get((account, place), (False, 0.0))
        if until > time.monotonic():
            return known
        asked = {"email": email, "address": place}
        answer = await attempt(call(self._auth, "POST", "/internal/places", body=asked, seconds=SIDE_SECONDS))
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


def _key(rule: Rule, name: str) -> str:
    return f"payflow:guess:{rule.name}:{name}"


def _plausible(milliseconds: Any) -> float:
    if not isinstance(milliseconds, int) or not 0 < milliseconds <= WAIT_SECONDS_MAX * 1000:
        return 0.0
    return milliseconds / 1000


def _refusal(wait_seconds: float) -> errors.RateLimited:
    return rate_limit.refusal(Count(WRONG, fits=False, remaining=0, seconds=max(1, math.ceil(wait_seconds))))
