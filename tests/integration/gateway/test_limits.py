"""Rate limits, shared by all gateways."""

from __future__ import annotations

import pytest
from limits import RateLimitItemPerMinute
from redis.asyncio import Redis as Client

from services.gateway import rate_limit
from services.gateway.rate_limit import Limit
from tests.integration.gateway.behind import problem
from tests.integration.gateway.conftest import Open, Reply

LOGIN = "/api/v1/auth/login"


@pytest.fixture(autouse=True)
async def _empty(redis_client: Client) -> None:
    """Every test starts with no counts."""


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five requests a minute for anything."""
    limits = {name: Limit(name, RateLimitItemPerMinute(5, 1, namespace=name)) for name in rate_limit.LIMITS}
    monkeypatch.setattr(rate_limit, "LIMITS", limits)


def _assert_limited(answer: Reply, name: str, amount: int, window_seconds: int) -> None:
    seconds = int(answer.headers["Retry-After"])
    assert (answer.status, answer.json()["code"]) == (429, "rate_limited")
    assert 1 <= seconds <= window_seconds
    assert answer.headers["RateLimit"] == f'"{name}";r=0;t={seconds}'
    assert answer.headers["RateLimit-Policy"] == f'"{name}";q={amount};w={window_seconds}'


@pytest.mark.usefixtures("tight")
async def test_gateways_share_the_count(open_door: Open, token: str) -> None:
    """A user has one allowance for all gateways; another user has their own."""
    async with open_door(rate_limits="on") as one, open_door(rate_limits="on") as other:
        answers = [await door.call("GET", "/api/v1/wallets", token=token) for door in (one, other) * 3]
        stranger = await one.call("GET", "/api/v1/wallets", token=one.behind.auth.token())

    assert [answer.status for answer in answers] == [200] * 5 + [429]
    assert stranger.status == 200
    _assert_limited(answers[-1], "default", 5, 60)


@pytest.mark.usefixtures("tight")
async def test_limits_can_be_lifted(open_door: Open, token: str) -> None:
    """`PAYFLOW_RATE_LIMITS=off` lifts them."""
    async with open_door(rate_limits="off") as door:
        assert {(await door.call("GET", "/api/v1/wallets", token=token)).status for _ in range(10)} == {200}


@pytest.mark.usefixtures("tight")
async def test_unauthenticated_requests_count_for_their_address(open_door: Open) -> None:
    """Where nobody is known, the address has the allowance; what the request says about itself does not matter."""
    async with open_door(rate_limits="on") as door:
        answers = [
            await door.call("GET", "/api/v1/currencies", headers={"X-Forwarded-For": f"1.2.3.{number}"})
            for number in range(6)
        ]
        unhindered = await door.call("GET", "/livez")

    assert [answer.status for answer in answers] == [200] * 5 + [429]
    assert unhindered.status == 200


async def test_wrong_passwords_are_limited(open_door: Open) -> None:
    """Ten wrong passwords for one address lock that pair out; other accounts and right passwords before it do not count."""
    async with open_door(rate_limits="on") as door:
        login = {"email": "Alice@example.com", "password": "x"}
        door.behind.auth.answers["POST /internal/login"] = {}
        right = [await door.call("POST", LOGIN, json=login) for _ in range(15)]
        door.behind.auth.answers["POST /internal/login"] = problem(401, "invalid_credentials")
        wrong = [await door.call("POST", LOGIN, json=login) for _ in range(11)]
        spelled_otherwise = await door.call("POST", LOGIN, json=login | {"email": " alice@EXAMPLE.com"})
        another = await door.call("POST", LOGIN, json=login | {"email": "bob@example.com"})

    assert {answer.status for answer in right} == {200}
    assert [answer.status for answer in wrong] == [401] * 10 + [429]
    _assert_limited(wrong[-1], "wrong_login", 10, 300)
    assert spelled_otherwise.status == 429
    assert another.status == 401


async def test_login_and_registration_are_limited(open_door: Open) -> None:
    """Each has a strict allowance of its own."""
    async with open_door(rate_limits="on") as door:
        door.behind.auth.answers |= {"POST /internal/login": {}, "POST /internal/register": {}}
        bodies = {
            "login": {"email": "a@example.com", "password": "x"},
            "register": {"email": "a@example.com", "password": "long enough", "name": "A"},
        }
        for name, body in bodies.items():
            answers = [await door.call("POST", f"/api/v1/auth/{name}", json=body) for _ in range(121)]
            _assert_limited(answers[-1], name, 120, 60)
            assert answers[-2].status < 300


async def test_counts_do_not_hold_names(open_door: Open, redis_client: Client) -> None:
    """No e-mail address and no idempotency key stands in Redis."""
    async with open_door(rate_limits="on") as door:
        door.behind.auth.answers["POST /internal/login"] = problem(401, "invalid_credentials")
        await door.call("POST", LOGIN, json={"email": "alice@example.com", "password": "x"})
        await door.send(door.behind.auth.token(), "a-key-of-mine")
    keys = [key.decode() for key in await redis_client.keys()]

    assert keys
    assert not [key for key in keys if "alice" in key or "a-key-of-mine" in key]
    assert -1 not in [await redis_client.ttl(key) for key in keys]
