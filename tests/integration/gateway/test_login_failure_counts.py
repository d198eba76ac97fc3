"""The exact number of attempts that each rule admits, and the counters in Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis as Client

from services.gateway.security import login_throttle, rate_limit
from services.gateway.security.login_rules import Rule
from tests.integration.gateway.conftest import FakeServices, Open
from tests.integration.gateway.test_login_throttle import ALICE, RIGHT, Clients
from tests.integration.gateway.upstream_fakes import problem

HOME = "127.0.0.1"


def address(number: int) -> str:
    return f"127.0.1.{number + 1}"


class StoppedClock:
    """Replaces the module `time`: no wait ends because this machine was slow."""

    def __init__(self) -> None:
        self._seconds = time.monotonic()

    def monotonic(self) -> float:
        return self._seconds


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_throttle, "time", StoppedClock())


@pytest.fixture(autouse=True)
def _alice(fakes: FakeServices, redis_client: Client, patient: None) -> None:
    fakes.auth.passwords[ALICE] = RIGHT


@pytest.fixture
async def clients() -> AsyncIterator[Clients]:
    async with AsyncExitStack() as stack:
        yield Clients(stack)


async def wrong(redis_client: Client, rule: Rule) -> list[int]:
    """The failures that Redis counts, by key of a rule."""
    keys = await redis_client.keys(f"payflow:login-failures:{rule.name}:*")
    counts = [await redis_client.get(key) for key in sorted(keys)]
    return [int(count.split(b":")[0]) if isinstance(count, bytes) else 0 for count in counts]


@pytest.mark.usefixtures("stopped")
async def test_an_account_has_twenty_attempts(open_client: Open, clients: Clients, redis_client: Client) -> None:
    """Twenty wrong passwords for one account from twenty addresses are checked; the next, from another address, is not."""
    async with open_client(rate_limits="on") as api:
        made = [(await clients.log_in(api, address(number)))[0] for number in range(20)]
        next_one = (await clients.log_in(api, address(20)))[0]
        checked = len(api.fakes.auth.calls_to("POST", "/internal/login"))

    assert ([401] * 20, 429, 20) == (made, next_one, checked)
    assert [[20], [1] * 20] == [
        await wrong(redis_client, rule) for rule in (login_throttle.ACCOUNT, login_throttle.PAIR)
    ]


@pytest.mark.usefixtures("stopped")
async def test_an_address_has_a_hundred_attempts(open_client: Open, clients: Clients) -> None:
    """A hundred wrong passwords from one address, each for another account; then it waits for any account."""
    async with open_client(rate_limits="on", rate_limit_login=10_000) as api:
        made = [(await clients.log_in(api, HOME, email=f"user{number}@example.com"))[0] for number in range(100)]
        next_one = await clients.log_in(api, HOME, email="another@example.com")
        elsewhere = await clients.log_in(api, address(0), email="another@example.com")

    assert [401] * 100 == made
    assert (429, 401) == (next_one[0], elsewhere[0])


@pytest.mark.usefixtures("stopped")
async def test_codes_have_ten_attempts(open_client: Open, clients: Clients) -> None:
    """Ten wrong codes for one account from ten addresses are checked, the eleventh is not; a password alone still is."""
    async with open_client(rate_limits="on") as api:
        api.fakes.auth.responses["POST /internal/login"] = problem(401, "invalid_credentials")
        made = [(await clients.log_in(api, address(number), RIGHT, totp="123456"))[0] for number in range(10)]
        next_one = await clients.log_in(api, address(10), RIGHT, totp="123456")
        without = await clients.log_in(api, address(11), "wrong")

    assert [401] * 10 == made
    assert (429, 401) == (next_one[0], without[0])


@pytest.mark.usefixtures("stopped")
async def test_codes_have_five_attempts_per_address(open_client: Open, clients: Clients, redis_client: Client) -> None:
    """After five wrong codes from one address it waits; every rule has counted each of them once."""
    async with open_client(rate_limits="on") as api:
        api.fakes.auth.responses["POST /internal/login"] = problem(401, "invalid_credentials")
        made = [(await clients.log_in(api, HOME, RIGHT, totp="123456"))[0] for _ in range(6)]
        counted = {
            rule.name: await wrong(redis_client, rule) for rule in login_throttle.RULES + login_throttle.CODE_RULES
        }

    assert [401] * 5 + [429] == made
    assert {rule.name: [5] for rule in login_throttle.RULES + login_throttle.CODE_RULES} == counted


async def test_counters_in_redis_expire_as_in_the_rule(
    open_client: Open, clients: Clients, redis_client: Client
) -> None:
    """Each failure restarts the expiry of its counters: an hour, a quarter of an hour, a day with a code."""
    async with open_client(rate_limits="on") as api:
        api.fakes.auth.responses["POST /internal/login"] = problem(401, "invalid_credentials")
        for _ in range(2):
            for key in await redis_client.keys("payflow:login-failures:*"):
                await redis_client.expire(key, 100)
            assert 401 == (await clients.log_in(api, HOME, RIGHT, totp="123456"))[0]
        kept = {
            rule: await redis_client.ttl((await redis_client.keys(f"payflow:login-failures:{rule.name}:*"))[0])
            for rule in login_throttle.RULES + login_throttle.CODE_RULES
        }

    assert all(rule.memory_seconds - 60 < seconds <= rule.memory_seconds for rule, seconds in kept.items())


async def test_success_resets_only_its_own_counters(open_client: Open, clients: Clients, redis_client: Client) -> None:
    """The counters of the account at this address are cleared everywhere; those of the account and of the address stay."""
    async with open_client(rate_limits="on") as one, open_client(rate_limits="on") as other:
        for _ in range(3):
            assert 401 == (await clients.log_in(one, HOME, "wrong", totp="123456"))[0]
        assert 200 == (await clients.log_in(other, HOME, RIGHT, totp="123456"))[0]
        counted = {
            rule.name: await wrong(redis_client, rule) for rule in login_throttle.RULES + login_throttle.CODE_RULES
        }

    assert {"pair": [], "code_pair": [], "account": [3], "address": [3], "code": [3]} == counted


async def test_no_response_counts_as_a_failure(
    open_client: Open, clients: Clients, redis_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt with an unknown result, or cancelled by the client, may have been checked: it counts as a failure."""
    monkeypatch.setattr("services.gateway.clients.service.CALL_SECONDS", 0.3)
    async with open_client(rate_limits="on") as api:
        api.fakes.auth.silent_at = "/internal/login"
        status, _, body = await clients.log_in(api, HOME)
        after_silence = await wrong(redis_client, login_throttle.PAIR)
        api.fakes.auth.silent_at = None

    assert (504, "outcome_unknown") == (status, body["code"])
    assert [1] == after_silence


async def test_retry_after_is_rounded_up(open_client: Open, clients: Clients, redis_client: Client) -> None:
    """`Retry-After` is rounded up to a whole second, so that a client that waits for it is not too early."""
    pair = rate_limit.hash_key(f"{rate_limit.hash_key(ALICE)} {HOME}")
    async with open_client(rate_limits="on") as api:
        for wrong_count in (12, 13, 40):
            longest = login_throttle.PAIR.wait_seconds(wrong_count)
            until = await now(redis_client) + longest - 0.05
            await redis_client.set(f"payflow:login-failures:pair:{pair}", f"{wrong_count}:{int(until * 1000)}", ex=3600)
            status, headers, _ = await clients.log_in(api, HOME, RIGHT)
            left = until - await now(redis_client)

            assert 429 == status
            assert left <= int(headers["Retry-After"]) <= longest


async def now(redis_client: Client) -> float:
    """The time of the Redis clock."""
    seconds, microseconds = await redis_client.time()
    return float(seconds) + microseconds / 1e6


@pytest.mark.usefixtures("stopped")
async def test_concurrent_attempts_share_one_limit(open_client: Open, clients: Clients) -> None:
    """After four failures a burst gets one more attempt, not one for each request."""
    async with open_client(rate_limits="on") as api:
        for _ in range(4):
            assert 401 == (await clients.log_in(api, HOME))[0]
        api.fakes.auth.silent_at = "/internal/login"
        tries = [asyncio.create_task(clients.log_in(api, HOME)) for _ in range(10)]
        done, waiting = await asyncio.wait(tries, return_when=asyncio.FIRST_COMPLETED)
        async with asyncio.timeout(20):
            while len(done) < 9:
                done, waiting = await asyncio.wait(tries, timeout=0.1)
        api.fakes.auth.silent_at = None
        last = [(await each)[0] for each in waiting]

    assert {429} == {each.result()[0] for each in done}
    assert [401] == last
