"""Cross-origin requests: pages of listed origins may read responses, all others may not."""

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
    """A gateway with two listed origins."""
    async with open_client(allowed_origins=f"{LISTED}, http://localhost:5173", rate_limits="on") as api:
        yield api


def preflight(origin: str, method: str = "POST") -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization",
    }


async def test_preflight(open_to: ApiClient) -> None:
    """A listed origin gets the methods of the path and the allowed headers; another is refused without them."""
    response = await open_to.call("OPTIONS", "/api/v1/transfers", headers=preflight(LISTED))
    refused = [await open_to.call("OPTIONS", "/api/v1/transfers", headers=preflight(origin)) for origin in OTHERS]

    assert (204, b"") == (response.status, response.body)
    assert LISTED == response.headers["Access-Control-Allow-Origin"]
    assert "true" == response.headers["Access-Control-Allow-Credentials"]
    assert {"GET", "HEAD", "POST"} == set(response.headers["Access-Control-Allow-Methods"].split(", "))
    allowed = response.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert {"authorization", "content-type", "idempotency-key", "prefer", "last-event-id"} <= set(allowed)
    assert "Origin" == response.headers["Vary"]
    for each in refused:
        assert (403, "origin_not_allowed") == (each.status, each.json()["code"])
        assert "Access-Control-Allow-Origin" not in each.headers


@pytest.mark.parametrize("demo", [True, False])
async def test_pages_may_simulate_in_demo_mode(open_client: Open, redis_client: Client, demo: bool) -> None:
    """A page of a listed origin may send the header of simulated failures in demo mode only."""
    async with open_client(allowed_origins=LISTED, demo=demo) as api:
        response = await api.call("OPTIONS", "/api/v1/transfers", headers=preflight(LISTED))

    assert demo is ("payflow-simulate" in response.headers["Access-Control-Allow-Headers"].lower().split(", "))


async def test_listed_origins_may_read_responses(open_to: ApiClient, token: str) -> None:
    """Pages of listed origins may read every response with its headers, including errors; other origins get no CORS headers."""
    requests = (
        ("GET", "/api/v1/wallets", token, 200),
        ("GET", "/api/v1/wallets", None, 401),
        ("GET", "/api/v1/nothing", token, 404),
        ("DELETE", "/api/v1/wallets", token, 405),
        ("OPTIONS", "/api/v1/wallets", None, 405),
        ("GET", "/livez", None, 200),
    )
    for method, path, bearer, status in requests:
        response = await open_to.call(method, path, token=bearer, headers={"Origin": LISTED})
        assert (status, LISTED) == (response.status, response.headers["Access-Control-Allow-Origin"]), path
        exposed = response.headers["Access-Control-Expose-Headers"].split(", ")
        assert {"Location", "ETag", "Retry-After", "RateLimit", "X-Request-Id"} <= set(exposed)
        assert "Origin" in response.headers["Vary"]
        for origin in (*OTHERS, None):
            other = await open_to.call(method, path, token=bearer, headers={"Origin": origin} if origin else {})
            assert status == other.status
            assert not [name for name in other.headers if name.startswith("Access-Control")]
            assert "Origin" in other.headers["Vary"]


async def test_refusals_of_admission_control_can_be_read(
    open_to: ApiClient, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal by admission control has CORS headers too."""
    monkeypatch.setattr(Intake, "is_full", property(lambda _: True))
    response = await open_to.send(token, "k", headers={"Origin": LISTED})

    assert (503, LISTED) == (response.status, response.headers["Access-Control-Allow-Origin"])


async def test_no_origin_is_listed_by_default(api: ApiClient, token: str) -> None:
    """Without a list there are no CORS headers, a preflight is an unknown method, and responses do not vary."""
    before = await api.call("OPTIONS", "/api/v1/transfers", headers=preflight(LISTED))
    response = await api.call("GET", "/api/v1/wallets", token=token, headers={"Origin": LISTED})

    assert (405, 200) == (before.status, response.status)
    assert not [name for name in response.headers if name.startswith("Access-Control") or name == "Vary"]
