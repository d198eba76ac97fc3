"""Rate limits, shared by all gateways."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from redis.asyncio import Redis as Client

from services.contracts.identifiers import new_id
from services.gateway.cache import Cache
from services.gateway.security import rate_limit
from services.gateway.security.rate_limit import LIMITS
from services.gateway.security.rate_limit_counters import Limit, Quotas
from tests.integration.gateway.conftest import Open, Response, eventually
from tests.integration.gateway.upstream_fakes import problem

LOGIN = "/api/v1/auth/login"
TRANSFERS = "/api/v1/transfers"


@pytest.fixture(autouse=True)
async def _empty(redis_client: Client, patient: None) -> None:
    """Every test starts without counts and with a working Redis. Without one: `test_cache_unavailable.py`."""


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five requests a minute for any user, eight for any address."""
    made = {name: replace(limit, amount={"address": 8}.get(name, 5)) for name, limit in rate_limit.LIMITS.items()}
    monkeypatch.setattr(rate_limit, "limits_of", lambda _settings: made)


def _assert_limited(response: Response, name: str, amount: int, window_seconds: int) -> None:
    seconds = int(response.headers["Retry-After"])
    assert (response.status, response.json()["code"]) == (429, "rate_limited")
    assert 1 <= seconds <= window_seconds
    assert response.headers["RateLimit"] == f'"{name}";r=0;t={seconds}'
    assert response.headers["RateLimit-Policy"] == f'"{name}";q={amount};w={window_seconds}'


@pytest.mark.usefixtures("tight")
async def test_user_has_one_quota(open_client: Open, token: str) -> None:
    """Each response has the remaining quota, a refusal has `Retry-After`; another user has a separate quota."""
    async with open_client(rate_limits="on") as api:
        responses = [await api.call("GET", "/api/v1/wallets", token=token) for _ in range(6)]
        other = await api.call("GET", "/api/v1/wallets", token=api.fakes.auth.token())

    assert [response.status for response in responses] == [200] * 5 + [429]
    assert [response.headers["RateLimit"].split(";")[1] for response in responses] == [
        "r=4",
        "r=3",
        "r=2",
        "r=1",
        "r=0",
        "r=0",
    ]
    assert {response.headers["RateLimit-Policy"] for response in responses} == {'"user";q=5;w=60'}
    assert other.status == 200
    _assert_limited(responses[-1], "user", 5, 60)


@pytest.mark.usefixtures("tight")
async def test_gateways_share_the_count(open_client: Open, token: str, redis_client: Client) -> None:
    """A user who has used up the quota at one gateway gets at most one request at another."""
    async with open_client(rate_limits="on") as one, open_client(rate_limits="on") as other:
        for _ in range(5):
            assert (await one.call("GET", "/api/v1/wallets", token=token)).status == 200

        async def is_told() -> bool:
            keys = await redis_client.keys("payflow:rate:user:*")
            return bool(keys) and await redis_client.get(keys[0]) == b"5"

        await eventually(is_told)
        first = await other.call("GET", "/api/v1/wallets", token=token)

        async def is_refused() -> bool:
            return b"rate_limited" in (await other.call("GET", "/api/v1/wallets", token=token)).body

        await eventually(is_refused)

    assert first.status == 200


@pytest.mark.usefixtures("redis_client")
async def test_transfers_reveal_registered_addresses_no_faster(
    open_client: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transfers to unregistered addresses are limited; transfers to wallets, and of other users, are not."""
    few = {name: replace(limit, amount=5 if name == "wrong_recipient" else 600) for name, limit in LIMITS.items()}
    monkeypatch.setattr(rate_limit, "limits_of", lambda _settings: few)
    async with open_client(rate_limits="on") as api:
        api.fakes.transaction.unregistered = {"nobody@example.com"}
        sender, other = api.fakes.auth.token(), api.fakes.auth.token()

        async def pay(token: str, key: str, **to: str) -> int:
            body = {"amount": 1, "currency": "USD", "to": to}
            return (await api.call("POST", TRANSFERS, json=body, token=token, headers={"Idempotency-Key": key})).status

        attempts = [await pay(sender, str(number), email="nobody@example.com") for number in range(6)]
        right = await pay(sender, "right", email="bob@example.com")
        by_wallet = await pay(sender, "wallet", wallet_id=str(new_id()))
        others = await pay(other, "other", email="nobody@example.com"), await pay(other, "bob", email="bob@example.com")

    assert [422] * 5 + [429] == attempts
    assert (429, 202) == (right, by_wallet)
    assert (422, 202) == others


async def test_exact_limits_are_exact(redis: object, redis_client: Client) -> None:
    """Two gateways at the same instant admit exactly as many as one."""
    limit = Limit("login", 20, 60, is_exact=True)
    url = str(redis.url)  # type: ignore[attr-defined]
    caches = [Cache(url), Cache(url)]
    quotas = [Quotas(cache) for cache in caches]
    for each in quotas:
        await each.take_exactly(Limit("register", 1, 60, is_exact=True), "warm")

    counts = await asyncio.gather(*(quotas[number % 2].take_exactly(limit, "subject") for number in range(60)))

    assert 20 == sum(count.fits for count in counts)
    for cache in caches:
        await cache.close()


@pytest.mark.parametrize("invalid", ["garbage", "-1000000", "9223372036854775807", "1e9", ""])
async def test_invalid_counts_in_redis_have_no_effect(redis: object, redis_client: Client, invalid: str) -> None:
    """An invalid count is replaced: the limit applies as without it, and no client is locked out."""
    limit = Limit("login", 5, 60, is_exact=True)
    cache = Cache(str(redis.url))  # type: ignore[attr-defined]
    quotas = Quotas(cache)
    await redis_client.set("payflow:rate:login:subject", invalid)
    await redis_client.rpush("payflow:rate:login:other", invalid)

    for subject in ("subject", "other"):
        assert [True] * 5 + [False] == [(await quotas.take_exactly(limit, subject)).fits for _ in range(6)]
        assert 0 < await redis_client.ttl(f"payflow:rate:login:{subject}") <= 60
    await cache.close()


async def test_own_counts_survive_a_flush(redis: object, redis_client: Client) -> None:
    """This gateway keeps its own counts without Redis."""
    limit = Limit("login", 5, 60, is_exact=True)
    cache = Cache(str(redis.url))  # type: ignore[attr-defined]
    quotas = Quotas(cache)
    for _ in range(3):
        assert (await quotas.take_exactly(limit, "subject")).fits
    await redis_client.flushall()

    assert [True, True, False, False] == [(await quotas.take_exactly(limit, "subject")).fits for _ in range(4)]
    await cache.close()


async def test_redis_cannot_end_every_quota(redis: object, redis_client: Client) -> None:
    """If Redis reports every quota as ended, a gateway accepts that only once in a while: at most twice as many are admitted."""
    limit = Limit("login", 5, 60, is_exact=True)
    cache = Cache(str(redis.url))  # type: ignore[attr-defined]
    quotas = Quotas(cache)
    fits = 0
    for _ in range(30):
        await redis_client.set("payflow:rate:login:subject", 0, px=50)
        fits += (await quotas.take_exactly(limit, "subject")).fits
        await asyncio.sleep(0.05)

    assert 5 <= fits <= 10
    await cache.close()


async def test_a_check_counts_nothing(redis: object) -> None:
    """A check of a limit that counts failures only takes nothing from the quota."""
    limit = Limit("wrong_key", 2, 60, is_exact=True)
    cache = Cache(str(redis.url))  # type: ignore[attr-defined]
    quotas = Quotas(cache)
    looks = [quotas.look(limit, "subject").fits for _ in range(10)]
    for _ in range(2):
        await quotas.take_exactly(limit, "subject")

    assert [True] * 10 == looks
    assert not quotas.look(limit, "subject").fits
    await cache.close()


async def test_quotas_are_bounded(redis: object, redis_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process keeps a bounded number of quotas."""
    monkeypatch.setattr("services.gateway.security.rate_limit_counters.QUOTAS_MAX", 100)
    cache = Cache(str(redis.url))  # type: ignore[attr-defined]
    quotas = Quotas(cache)
    for number in range(1000):
        quotas.take(rate_limit.LIMITS["address"], f"198.51.100.{number}")

    assert 100 == len(quotas._quotas["address"])
    await quotas.close()
    await cache.close()


@pytest.mark.usefixtures("tight")
async def test_limits_can_be_disabled(open_client: Open, token: str) -> None:
    """`PAYFLOW_RATE_LIMITS=off` disables them."""
    async with open_client(rate_limits="off") as api:
        assert {(await api.call("GET", "/api/v1/wallets", token=token)).status for _ in range(10)} == {200}


@pytest.mark.usefixtures("tight")
async def test_address_is_limited_before_authentication(open_client: Open, token: str) -> None:
    """Guarantee 47: forged tokens, addresses where nothing is, and public routes count alike for where they come from.

    What the request says about that does not matter; health is answered all the same.
    """
    async with open_client(rate_limits="on") as api:
        requests = [("/api/v1/wallets", "forged"), ("/api/v1/nothing", None), ("/api/v1/currencies", None)] * 3
        responses = [
            await api.call("GET", path, token=bearer, headers={"X-Forwarded-For": f"1.2.3.{number}"})
            for number, (path, bearer) in enumerate(requests)
        ]
        with_token = await api.call("GET", "/api/v1/wallets", token=token)
        unhindered = await api.call("GET", "/livez")

    assert [response.status for response in responses] == [401, 404, 200, 401, 404, 200, 401, 404, 429]
    assert {response.headers["RateLimit-Policy"] for response in responses} == {'"address";q=8;w=60'}
    assert with_token.status == 429
    assert unhindered.status == 200
    _assert_limited(responses[-1], "address", 8, 60)


@pytest.mark.usefixtures("tight")
async def test_clients_of_a_trusted_proxy_are_distinguished(open_client: Open) -> None:
    """With the proxy's network in the settings each client has its own quota, and cannot get another one."""
    async with open_client(rate_limits="on", trusted_proxies="127.0.0.0/8") as api:

        async def ask(forwarded: str) -> int:
            return (await api.call("GET", "/api/v1/currencies", headers={"X-Forwarded-For": forwarded})).status

        one = [await ask(f"{number}.2.3.4, 198.51.100.1") for number in range(1, 10)]
        other = await ask("198.51.100.2")

    assert [200] * 8 + [429] == one
    assert 200 == other


async def test_login_and_registration_are_limited(open_client: Open) -> None:
    """Each has a strict limit of its own."""
    async with open_client(rate_limits="on", rate_limit_login=120) as api:
        api.fakes.auth.responses |= {"POST /internal/login": {}, "POST /internal/register": {}}
        bodies = {
            "login": {"email": "a@example.com", "password": "x"},
            "register": {"email": "a@example.com", "password": "long enough", "name": "A"},
        }
        for name, body in bodies.items():
            responses = [await api.call("POST", f"/api/v1/auth/{name}", json=body) for _ in range(121)]
            _assert_limited(responses[-1], name, 120, 60)
            assert responses[-2].status < 300


async def test_counters_contain_no_names(open_client: Open, redis_client: Client) -> None:
    """Redis stores no e-mail addresses and no idempotency keys."""
    async with open_client(rate_limits="on") as api:
        api.fakes.auth.responses["POST /internal/login"] = problem(401, "invalid_credentials")
        await api.call("POST", LOGIN, json={"email": "alice@example.com", "password": "x"})
        await api.send(api.fakes.auth.token(), "a-key-of-mine")
    keys = [key.decode() for key in await redis_client.keys() if isinstance(key, bytes)]

    assert keys
    assert not [key for key in keys if "alice" in key or "a-key-of-mine" in key]
    assert -1 not in [await redis_client.ttl(key) for key in keys]
