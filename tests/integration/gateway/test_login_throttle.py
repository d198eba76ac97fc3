"""Login throttling: few attempts are admitted, however they are spread, whatever Redis does, and the owner can still log in."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis as Client

from deploy.local.engines import Redis
from services.chassis.database import close_pool
from services.gateway import schemas
from services.gateway.api import OPERATIONS
from services.gateway.operations import Operation
from services.gateway.security import login_throttle
from tests.harness.databases import TestDatabase
from tests.integration.auth import service as real_auth
from tests.integration.gateway.conftest import ApiClient, FakeServices, Open
from tests.integration.gateway.upstream_fakes import problem

LOGIN = "/api/v1/auth/login"
ALICE = "alice@example.com"
RIGHT = "correct horse"
ATTACKERS = [f"127.0.0.{number}" for number in range(2, 52)]
FREE = login_throttle.ACCOUNT.free


@pytest.fixture(autouse=True)
def _alice(fakes: FakeServices, redis_client: Client) -> None:
    fakes.auth.passwords[ALICE] = RIGHT


@pytest.fixture
async def own_redis(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Redis]:
    """A Redis that a test may break."""
    engine = Redis(tmp_path_factory.mktemp("redis"))
    await engine.start()
    yield engine
    if engine.pid is not None:
        os.kill(engine.pid, signal.SIGCONT)
    engine.kill()


SECRETS = {"password": "wrong", "current_password": "wrong", "totp": "123456", "code": "123456"}
"""Request fields with a secret that could be guessed, and a wrong value."""

OTHERS = {"email": ALICE, "new_password": "another battery staple", "name": "shop", "scopes": ["read"]}
THROTTLED = [
    row
    for row in OPERATIONS
    if row.body is not None and SECRETS.keys() & row.body.model_fields.keys() and row.body is not schemas.auth.Register
]
"""Every operation with such a field. Register sets a new password."""

TOKENS = [row for row in OPERATIONS if row.body is not None and "token" in row.body.model_fields]


class Clients:
    """Clients at many network addresses."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    async def log_in(
        self, api: ApiClient, address: str, password: str = "wrong", *, email: str = ALICE, **more: Any
    ) -> tuple[int, dict[str, str], Any]:
        """One login from this address; status, headers, body."""
        if address not in self._sessions:
            connector = aiohttp.TCPConnector(local_addr=(address, 0))
            self._sessions[address] = await self._stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        body = {"email": email, "password": password} | more
        async with self._sessions[address].post(api.url + LOGIN, json=body) as response:
            return response.status, dict(response.headers), await response.json()

    async def attack(self, api: ApiClient, count: int) -> list[int]:
        """Failed logins to one account, ten at a time, from fifty addresses."""
        statuses = []
        for start in range(0, count, 10):
            burst = (self.log_in(api, ATTACKERS[number % 50]) for number in range(start, start + 10))
            statuses += [status for status, _, _ in await asyncio.gather(*burst)]
        return statuses


@pytest.fixture
async def clients() -> AsyncIterator[Clients]:
    async with AsyncExitStack() as stack:
        yield Clients(stack)


def _attempts(api: ApiClient) -> int:
    return len(api.fakes.auth.calls_to("POST", "/internal/login"))


def _attempts_max(seconds: float, *, gateways: int = 1) -> int:
    """The maximum number of attempts for one account in this time: the free ones, one for each wait, and concurrent ones."""
    served, attempts = 0.0, 0
    while served <= seconds:
        served += login_throttle.ACCOUNT.wait_seconds(FREE + attempts)
        attempts += 1
    return (FREE + attempts) * gateways


@pytest.mark.usefixtures("patient")
async def test_sixth_wrong_password_waits(open_client: Open, clients: Clients) -> None:
    """Five failures are free; then every spelling of the address gets `Retry-After`, after which the next attempt is checked."""
    async with open_client(rate_limits="on") as api:
        wrong = [await clients.log_in(api, "127.0.0.1") for _ in range(6)]
        spelled_otherwise = await clients.log_in(api, "127.0.0.1", RIGHT, email=" ALICE@example.COM")
        elsewhere = await clients.log_in(api, "127.0.0.2", RIGHT)
        another = await clients.log_in(api, "127.0.0.1", email="bob@example.com")

        assert [401] * 5 + [429] == [status for status, _, _ in wrong]
        _, headers, body = wrong[-1]
        assert "rate_limited" == body["code"]
        assert {"1", '"wrong_login";r=0;t=1', '"wrong_login";q=5;w=3600'} == {
            headers["Retry-After"], headers["RateLimit"], headers["RateLimit-Policy"],
        }  # fmt: skip
        assert (429, 200, 401) == (spelled_otherwise[0], elsewhere[0], another[0])

        await _until(lambda: clients.log_in(api, "127.0.0.1", RIGHT), 200)
        again = [await clients.log_in(api, "127.0.0.1") for _ in range(5)]

    assert [401] * 5 == [status for status, _, _ in again]


@pytest.mark.parametrize("row", THROTTLED, ids=lambda row: f"{row.method} {row.path}")
async def test_every_secret_is_throttled(open_client: Open, token: str, row: Operation) -> None:
    """Passwords, current passwords, codes of the second factor and recovery codes: after five failures none is checked.

    Not even the right one. A refusal with another code does not count.
    """
    assert row.body is not None
    body = {name: value for name, value in (SECRETS | OTHERS).items() if name in row.body.model_fields}
    upstream = f"{row.method} {row.path.replace('/api/v1/auth', '/internal').replace('/api/v1', '/internal')}"
    async with open_client(rate_limits="on") as api:

        async def attempt(response: Any) -> int:
            api.fakes.auth.responses[upstream] = response
            return (await api.call(row.method, row.path, token=token, json=body)).status

        uncounted = [await attempt(problem(401, "totp_required")) for _ in range(10)]
        wrong = [await attempt(problem(401, "invalid_credentials")) for _ in range(5)]
        checked = len(api.fakes.auth.calls_to(*upstream.split()))
        right = await attempt(problem(409, "right"))

        assert [401] * 15 == uncounted + wrong
        assert 429 == right
        assert checked == len(api.fakes.auth.calls_to(*upstream.split()))


async def test_codes_are_throttled_more_strictly(open_client: Open, clients: Clients) -> None:
    """An attacker with the password can try few codes, from any addresses and at any rate; the owner can still log in."""
    async with open_client(rate_limits="on") as api:
        assert 200 == (await clients.log_in(api, "127.0.0.1", RIGHT))[0]
        api.fakes.auth.responses["POST /internal/login"] = problem(401, "invalid_credentials")

        at_once = await asyncio.gather(*(clients.log_in(api, "127.0.0.2", RIGHT, totp=f"{n:06}") for n in range(30)))
        spread = [await clients.log_in(api, address, RIGHT, totp="123456") for address in ATTACKERS[1:31]]

        del api.fakes.auth.responses["POST /internal/login"]
        owner = await clients.log_in(api, "127.0.0.1", RIGHT, totp="123456")

    tried = [status for status, _, _ in at_once].count(401)
    assert 1 <= tried <= login_throttle.CODE_PAIR.parallel
    # One more for each wait that a slow test has completed: the tenth second is five waits away.
    assert [status for status, _, _ in spread].count(401) <= login_throttle.CODE.free - tried + 5
    assert 200 == owner[0]


def test_email_tokens_are_limited() -> None:
    """Email tokens are too long to be guessed, and attempts are limited all the same."""
    assert {"email_tokens"} == {row.limit for row in TOKENS}


async def test_thousand_attempts_from_fifty_addresses(
    open_client: Open, clients: Clients, auth_database: TestDatabase, redis_client: Client
) -> None:
    """Guarantee 49: nearly all get 429, and the owner logs in from a known location, also after a flush of Redis."""
    pool = await auth_database.pool()
    async with real_auth.running(pool) as auth:
        await auth.register(ALICE, RIGHT)
        keys = {"service_key": real_auth.SEEDS["gateway"], "service_public_keys": real_auth.PUBLIC_KEYS}
        async with open_client(rate_limits="on", auth_url=auth.url, **keys) as api:
            assert 200 == (await clients.log_in(api, "127.0.0.1", RIGHT))[0]
            started = time.monotonic()

            statuses = await clients.attack(api, 1000)

            spent = time.monotonic() - started
            owner = [await clients.log_in(api, "127.0.0.1", RIGHT) for _ in range(3)]
            other = await clients.log_in(api, "127.0.0.99", RIGHT)
            kept = [key.decode() for key in await redis_client.keys() if isinstance(key, bytes)]
            await redis_client.flushall()
            after_the_flush = await clients.attack(api, 20)
            owner.append(await clients.log_in(api, "127.0.0.1", RIGHT))
    await close_pool(pool)

    assert {401, 429} == set(statuses)
    assert FREE <= statuses.count(401) <= _attempts_max(spent)
    assert [200] * 4 == [status for status, _, _ in owner]
    assert 429 == other[0]
    assert after_the_flush.count(401) <= 1
    assert kept
    assert [] == [key for key in kept if "alice" in key or "@" in key]


@pytest.mark.usefixtures("patient")
async def test_gateways_share_failure_counters(open_client: Open, clients: Clients) -> None:
    """Failures at one gateway cause waits at the other, and a success there resets the counter."""
    async with open_client(rate_limits="on") as one, open_client(rate_limits="on") as other:
        assert {401} == {(await clients.log_in(one, "127.0.0.1"))[0] for _ in range(5)}

        assert 429 == (await clients.log_in(other, "127.0.0.1", RIGHT))[0]

        await _until(lambda: clients.log_in(other, "127.0.0.1", RIGHT), 200)
        assert {401} == {(await clients.log_in(other, "127.0.0.1"))[0] for _ in range(5)}


async def test_attackers_do_not_count_for_the_owner(open_client: Open, clients: Clients, redis_client: Client) -> None:
    """Whatever headers attackers send, the counter of the owner's address stays at zero."""
    async with open_client(rate_limits="on") as api:
        assert 200 == (await clients.log_in(api, "127.0.0.1", RIGHT))[0]
        await clients.attack(api, 100)
        owner = [(await clients.log_in(api, "127.0.0.1"))[0] for _ in range(4)]
        queries = len(api.fakes.auth.calls_to("POST", "/internal/known-locations"))
        await clients.attack(api, 100)

        assert [401] * 4 == owner
        assert 200 == (await clients.log_in(api, "127.0.0.1", RIGHT))[0]
        assert len(api.fakes.auth.calls_to("POST", "/internal/known-locations")) - queries <= 50


@pytest.mark.parametrize("failure", ["killed", "frozen"])
async def test_attempts_are_few_without_redis(
    open_client: Open, clients: Clients, own_redis: Redis, failure: str
) -> None:
    """Guarantee 49: this gateway counts for itself; no request waits for Redis, and the owner can log in."""
    async with open_client(rate_limits="on", redis_url=own_redis.url) as api:
        assert 200 == (await clients.log_in(api, "127.0.0.1", RIGHT))[0]
        if failure == "killed":
            own_redis.kill()
        else:
            assert own_redis.pid is not None
            os.kill(own_redis.pid, signal.SIGSTOP)
        before, started = _attempts(api), time.monotonic()

        statuses = await clients.attack(api, 300)

        spent = time.monotonic() - started
        assert statuses.count(401) == _attempts(api) - before <= _attempts_max(spent)
        assert 200 == (await clients.log_in(api, "127.0.0.1", RIGHT))[0]


INVALID: tuple[Any, ...] = (
    "garbage",
    "-5:-5",
    "9999999999999999999:1",
    "3:99999999999999999",
    "",
    b"\xff\x00",
    ["a", "list"],
)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("invalid", INVALID, ids=range(len(INVALID)))
async def test_invalid_values_in_redis_have_no_effect(
    open_client: Open, clients: Clients, redis_client: Client, invalid: Any
) -> None:
    """Every counter is overwritten before every attempt: attempts stay few, and the owner is not locked out."""
    async with open_client(rate_limits="on") as api:
        assert 200 == (await clients.log_in(api, "127.0.0.1", RIGHT))[0]
        assert 401 == (await clients.log_in(api, "127.0.0.1"))[0]
        statuses = []
        for _ in range(4):
            for key in await redis_client.keys("payflow:login-failures:*"):
                await redis_client.delete(key)
                await (
                    redis_client.rpush(key, *invalid) if isinstance(invalid, list) else redis_client.set(key, invalid)
                )
            statuses += await clients.attack(api, 20)

        assert statuses.count(401) <= FREE + 2
        assert 429 in statuses
        assert 200 == (await clients.log_in(api, "127.0.0.1", RIGHT))[0]


async def test_a_burst_of_right_passwords_is_admitted(open_client: Open, clients: Clients) -> None:
    """Fifty concurrent logins with the right password are all admitted."""
    async with open_client(rate_limits="on") as api:
        responses = await asyncio.gather(*(clients.log_in(api, "127.0.0.1", RIGHT) for _ in range(50)))

    assert {200} == {status for status, _, _ in responses}


async def test_unchecked_passwords_are_not_counted(open_client: Open, clients: Clients) -> None:
    """While auth is unavailable no password is checked, so there is no wait when it is back."""
    async with open_client(rate_limits="on") as api:
        await api.fakes.auth.stop()
        unavailable = {(await clients.log_in(api, "127.0.0.1"))[0] for _ in range(8)}
        await api.fakes.auth.start()

        assert {503} == unavailable
        assert 200 == (await clients.log_in(api, "127.0.0.1", RIGHT))[0]


async def _until(ask: Any, expected: int) -> None:
    async with asyncio.timeout(30):
        while (await ask())[0] != expected:
            await asyncio.sleep(0.1)
