"""The routes for email tokens at the gateway."""

from __future__ import annotations

import pytest

from services.contracts.identifiers import new_id
from tests.integration.gateway.conftest import ApiClient, Open
from tests.integration.gateway.upstream_fakes import problem

BASE = "/api/v1/auth"


async def test_verifying_and_requesting_verification(api: ApiClient, token: str, user_id: str) -> None:
    """A token is passed on without a login; another email requires a login and is sent to the own address."""
    fakes = api.fakes.auth
    fakes.responses |= {"POST /internal/email/verify": {}, "POST /internal/email/verification": {}}
    verified = await api.call("POST", f"{BASE}/email/verify", json={"token": "t"})
    requested = await api.call("POST", f"{BASE}/email/verification", token=token)
    anonymous = await api.call("POST", f"{BASE}/email/verification")

    assert (204, b"") == (verified.status, verified.body)
    assert (202, {"expires_in": 86400}, 401) == (requested.status, requested.json(), anonymous.status)
    assert [{"token": "t"}] == [call.body for call in fakes.calls_to("POST", "/internal/email/verify")]
    assert [{"user_id": user_id}] == [call.body for call in fakes.calls_to("POST", "/internal/email/verification")]


async def test_a_reset_ends_sessions_here_at_once(api: ApiClient, token: str) -> None:
    """The sessions that a reset ended are refused by this gateway from the next request."""
    session_id = str(new_id())
    token = api.fakes.auth.token(sid=session_id)
    api.fakes.auth.responses["POST /internal/password/reset"] = {"ended": [session_id]}
    before = await api.call("GET", "/api/v1/wallets", token=token)
    body = {"token": "t", "new_password": "long enough"}
    response = await api.call("POST", f"{BASE}/password/reset", json=body)
    after = await api.call("GET", "/api/v1/wallets", token=token)

    assert [200, 204, 401] == [before.status, response.status, after.status]


async def test_invalid_requests_are_named(api: ApiClient) -> None:
    """An invalid token has a code of its own; malformed requests name their fields."""
    api.fakes.auth.responses["POST /internal/email/verify"] = problem(422, "email_token_invalid")
    spent = await api.call("POST", f"{BASE}/email/verify", json={"token": "t"})
    short = await api.call("POST", f"{BASE}/password/reset", json={"token": "", "new_password": "short"})
    malformed = await api.call("POST", f"{BASE}/password/forgot", json={"email": "alice"})

    assert (422, "email_token_invalid") == (spent.status, spent.json()["code"])
    assert {"token", "new_password"} == {error["field"] for error in short.json()["errors"]}
    assert ["email"] == [error["field"] for error in malformed.json()["errors"]]


@pytest.mark.usefixtures("redis_client")
async def test_emails_are_limited_per_address(open_client: Open) -> None:
    """Twenty emails in ten minutes from one address, for any recipients; then 429. Twice that if Redis fails in between."""
    async with open_client(rate_limits="on") as api:
        api.fakes.auth.responses["POST /internal/password/forgot"] = {}
        responses = [
            await api.call("POST", f"{BASE}/password/forgot", json={"email": f"user{number}@example.com"})
            for number in range(41)
        ]

    assert {(202, b'{"expires_in":1800}')} == {(response.status, response.body) for response in responses[:20]}
    assert (429, "rate_limited") == (responses[40].status, responses[40].json()["code"])
