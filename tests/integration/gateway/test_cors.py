"""Cross-origin requests: pages of listed origins may read answers, all others may not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis as Client

from services.gateway.intake import Intake
from tests.integration.gateway.conftest import ApiClient, Open

LISTED = "https://app.example.com"
OTHERS = (
    "https://evil.example",
    "null",
    "http://app.example.com",
    f"{LISTED}.evil.example",
    "*",
    "https://APP.example.com",
)


@pytest.fixture
async def open_to(open_client: Open, redis_client: Client) -> AsyncIterator[ApiClient]:
    """A api with two listed origins."""
    async with open_client(allowed_origins=f"{LISTED}, http://localhost:5173", rate_limits="on") as api:
        yield api


def preflight(origin: str, method: str = "POST") -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization",
    }


async def test_preflight(open_to: ApiClient) -> None:
    """A listed origin is told the methods of the address and our headers; another is refused and told nothing."""
    answer = await open_to.call("OPTIONS", "/api/v1/transfers", headers=preflight(LISTED))
    refused = [await open_to.call("OPTIONS", "/api/v1/transfers", headers=preflight(origin)) for origin in OTHERS]

    assert (204, b"") == (answer.status, answer.body)
    assert LISTED == answer.headers["Access-Control-Allow-Origin"]
    assert "true" == answer.headers["Access-Control-Allow-Credentials"]
    assert {"GET", "HEAD", "POST"} == set(answer.headers["Access-Control-Allow-Methods"].split(", "))
    allowed = answer.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert {"authorization", "content-type", "idempotency-key", "prefer", "last-event-id"} <= set(allowed)
    assert "Origin" == answer.headers["Vary"]
    for each in refused:
        assert (403, "origin_not_allowed") == (each.status, each.json()["code"])
        assert "Access-Control-Allow-Origin" not in each.headers


@pytest.mark.parametrize("demo", [True, False])
async def test_pages_may_simulate_in_demo_mode(open_client: Open, redis_client: Client, demo: bool) -> None:
    """A page of a listed origin may send the header of simulations where it is understood, and nowhere else."""
    async with open_client(allowed_origins=LISTED, demo=demo) as api:
        answer = await api.call("OPTIONS", "/api/v1/transfers", headers=preflight(LISTED))

    assert demo is ("payflow-simulate" in answer.headers["Access-Control-Allow-Headers"].lower().split(", "))


async def test_answers_can_be_read(open_to: ApiClient, token: str) -> None:
    """What a listed page gets it may read, headers included, errors too; others get the same without a word about it."""
    requests = (
        ("GET", "/api/v1/wallets", token, 200),
        ("GET", "/api/v1/wallets", None, 401),
        ("GET", "/api/v1/nothing", token, 404),
        ("DELETE", "/api/v1/wallets", token, 405),
        ("OPTIONS", "/api/v1/wallets", None, 405),
        ("GET", "/livez", None, 200),
    )
    for method, path, who, status in requests:
        answer = await open_to.call(method, path, token=who, headers={"Origin": LISTED})
        assert (status, LISTED) == (answer.status, answer.headers["Access-Control-Allow-Origin"]), path
        exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
        assert {"Location", "ETag", "Retry-After", "RateLimit", "X-Request-Id"} <= set(exposed)
        assert "Origin" in answer.headers["Vary"]
        for origin in (*OTHERS, None):
            other = await open_to.call(method, path, token=who, headers={"Origin": origin} if origin else {})
            assert status == other.status
            assert not [name for name in other.headers if name.startswith("Access-Control")]
            assert "Origin" in other.headers["Vary"]


async def test_refusals_of_the_outermost_gateway(
    open_to: ApiClient, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is turned away before anything is looked at may read why."""
    monkeypatch.setattr(Intake, "is_full", property(lambda _: True))
    answer = await open_to.send(token, "k", headers={"Origin": LISTED})

    assert (503, LISTED) == (answer.status, answer.headers["Access-Control-Allow-Origin"])


async def test_nothing_is_listed_unless_told(api: ApiClient, token: str) -> None:
    """Without a list no origin may, a preflight is an unknown method, and answers do not vary."""
    before = await api.call("OPTIONS", "/api/v1/transfers", headers=preflight(LISTED))
    answer = await api.call("GET", "/api/v1/wallets", token=token, headers={"Origin": LISTED})

    assert (405, 200) == (before.status, answer.status)
    assert not [name for name in answer.headers if name.startswith("Access-Control") or name == "Vary"]
