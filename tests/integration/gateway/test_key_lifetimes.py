"""How long the gateway caches auth's result for an API key or a location, by a clock that the tests move."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from redis.asyncio import Redis as Client

from deploy.local.engines import Redis
from services.chassis.client import Upstream
from services.chassis.service_tokens import Identity
from services.contracts.api_keys import new_key
from services.gateway.cache import Cache
from services.gateway.clients.auth import AuthClient
from services.gateway.security import login_throttle, rate_limit, verified_keys
from services.gateway.security.login_throttle import LoginThrottle
from tests.harness import events
from tests.integration.gateway.conftest import PUBLIC_KEYS, SEED, ApiClient, FakeServices, eventually

WALLETS = "/api/v1/wallets"
VERIFY = "/internal/api-keys/verify"
ALICE = "alice@example.com"


class Clock:
    """Replaces the module `time` in one module: a clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = time.monotonic()

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Clock]:
    """Replace the clock of a module."""

    def stopped(module: Any) -> Clock:
        made = Clock()
        monkeypatch.setattr(module, "time", made)
        return made

    return stopped


async def statuses(api: ApiClient, key: str, clock: Clock, *pauses: float) -> list[tuple[int, int]]:
    """The status of a request after each of these pauses, and the number of queries to auth until then."""
    seen = []
    for pause in pauses:
        clock.seconds += pause
        status = (await api.call("GET", WALLETS, token=key)).status
        seen.append((status, len(api.fakes.auth.calls_to("POST", VERIFY))))
    return seen


async def test_a_key_is_verified_again_after_ten_minutes(api: ApiClient, clock_of: Callable[[Any], Clock]) -> None:
    """Whatever auth returns, a result is cached no longer than an access token would live."""
    clock = clock_of(verified_keys)
    key = api.fakes.auth.api_key("read", seconds=6000.0, fresh_seconds=6000.0)

    assert [(200, 1), (200, 1), (200, 2)] == await statuses(api, key, clock, 0, 599, 1)
    api.fakes.auth.forget_api_key(key)
    assert [(200, 2), (401, 3)] == await statuses(api, key, clock, 599, 1)


async def test_a_key_ends_at_the_time_of_auth(api: ApiClient, clock_of: Callable[[Any], Clock]) -> None:
    """A shorter time than ten minutes applies, counted from the query."""
    clock = clock_of(verified_keys)
    key = api.fakes.auth.api_key("read", seconds=60.0, fresh_seconds=60.0)

    assert [(200, 1), (200, 1), (200, 2)] == await statuses(api, key, clock, 0, 59, 1)


async def test_an_unknown_key_is_queried_every_ten_seconds(api: ApiClient, clock_of: Callable[[Any], Clock]) -> None:
    """In between it is refused without a call to auth."""
    clock = clock_of(verified_keys)

    assert [(401, 1), (401, 1), (401, 2), (401, 2)] == await statuses(api, new_key().text, clock, 0, 9.9, 0.2, 5)


async def test_key_use_is_reported_until_auth_responds(api: ApiClient, clock_of: Callable[[Any], Clock]) -> None:
    """The first use after the time that auth named is reported to it; without a response it is reported again every second."""
    clock = clock_of(verified_keys)
    key = api.fakes.auth.api_key("read", fresh_seconds=100.0)

    async def queried(count: int) -> bool:
        return len(api.fakes.auth.calls_to("POST", VERIFY)) == count

    assert [(200, 1), (200, 1)] == await statuses(api, key, clock, 0, 99)
    api.fakes.auth.broken_at = VERIFY
    await statuses(api, key, clock, 1)
    # A call whose connection breaks is made twice.
    await eventually(lambda: queried(3))
    assert [(200, 3)] == await statuses(api, key, clock, 0.9)
    api.fakes.auth.broken_at = None
    await statuses(api, key, clock, 0.2)
    await eventually(lambda: queried(4))
    assert [(200, 4)] == await statuses(api, key, clock, 90)


async def test_a_key_found_unknown_is_refused_at_once(api: ApiClient, clock_of: Callable[[Any], Clock]) -> None:
    """If a query in the background finds the key unknown, the next request with it is refused."""
    clock = clock_of(verified_keys)
    key = api.fakes.auth.api_key("read", fresh_seconds=100.0)
    assert [(200, 1)] == await statuses(api, key, clock, 0)
    api.fakes.auth.forget_api_key(key)
    await statuses(api, key, clock, 101)

    async def is_refused() -> bool:
        return (await api.call("GET", WALLETS, token=key)).status == 401

    await eventually(is_refused)


async def test_a_stream_ends_with_its_key(api: ApiClient) -> None:
    """An event stream opened with a key ends when the verification of the key expires."""
    key = api.fakes.auth.api_key("read", seconds=1.0)
    async with events.listening(api.session, api.url, key, after=0) as reader:
        received = await reader.remaining()

    assert ["token_expired"] == [event.type for event in received]


@pytest.fixture
async def throttle(fakes: FakeServices, redis: Redis, redis_client: Client) -> AsyncIterator[LoginThrottle]:
    """The login throttle of a gateway."""
    identity = Identity(Ed25519PrivateKey.from_private_bytes(SEED), PUBLIC_KEYS)
    upstream, cache = Upstream("gateway", "auth", fakes.auth.url, identity), Cache(redis.url)
    yield LoginThrottle(cache, AuthClient(upstream, passwords=upstream), enabled=True)
    await upstream.close()
    await cache.close()


async def test_a_location_is_queried_again(
    fakes: FakeServices, throttle: LoginThrottle, clock_of: Callable[[Any], Clock]
) -> None:
    """`unknown` is cached for five seconds, `known` for a minute, for each account and location."""
    clock, account = clock_of(login_throttle), rate_limit.hash_key(ALICE)
    seen = []

    async def ask(pause: float, place: str = "192.0.2.7", email: str = ALICE) -> None:
        clock.seconds += pause
        known = await throttle._is_known(rate_limit.hash_key(email), place, email)
        seen.append((known, len(fakes.auth.calls_to("POST", "/internal/known-locations"))))

    await ask(0)
    fakes.auth.places.add((ALICE, "192.0.2.7"))
    for pause in (4.9, 0.2, 59.9):
        await ask(pause)
    fakes.auth.places.clear()
    await ask(0.2)
    await ask(0, place="192.0.2.8")
    await ask(0, email="bob@example.com")

    assert [(False, 1), (False, 1), (True, 2), (True, 2), (False, 3), (False, 4), (False, 5)] == seen
    bodies = [call.body for call in fakes.auth.calls_to("POST", "/internal/known-locations")]
    assert {"email": ALICE, "address": "192.0.2.7"} == bodies[0]
    assert account not in str(bodies)


async def test_a_login_makes_a_location_known_at_once(
    fakes: FakeServices, throttle: LoginThrottle, clock_of: Callable[[Any], Clock]
) -> None:
    """After a successful login here, auth is not queried about this account and location for a minute."""
    clock_of(login_throttle)
    account = rate_limit.hash_key(ALICE)
    assert not await throttle._is_known(account, "192.0.2.7", ALICE)
    async with throttle.login(ALICE, "192.0.2.7"):
        pass

    assert await throttle._is_known(account, "192.0.2.7", ALICE)
    assert not await throttle._is_known(account, "192.0.2.8", ALICE)
    assert 2 == len(fakes.auth.calls_to("POST", "/internal/known-locations"))
