"""The routes of letters at the gateway."""

from __future__ import annotations

import pytest

from services.contracts.identifiers import new_id
from tests.integration.gateway.conftest import ApiClient, Open
from tests.integration.gateway.upstream_fakes import problem

BASE = "/api/v1/auth"


async def test_verifying_and_asking(api: ApiClient, token: str, user_id: str) -> None:
    """A token is passed on with no login needed; another letter is asked for by whoever is logged in, for themselves."""
    behind = api.behind.auth
    behind.answers |= {"POST /internal/email/verify": {}, "POST /internal/email/verification": {}}
    verified = await api.call("POST", f"{BASE}/email/verify", json={"token": "t"})
    asked = await api.call("POST", f"{BASE}/email/verification", token=token)
    stranger = await api.call("POST", f"{BASE}/email/verification")

    assert (204, b"") == (verified.status, verified.body)
    assert (202, {"expires_in": 86400}, 401) == (asked.status, asked.json(), stranger.status)
    assert [{"token": "t"}] == [call.body for call in behind.calls_to("POST", "/internal/email/verify")]
    assert [{"user_id": user_id}] == [call.body for call in behind.calls_to("POST", "/internal/email/verification")]


async def test_a_reset_ends_sessions_here_at_once(api: ApiClient, token: str) -> None:
    """The sessions that a reset ended are refused by this gateway from the next request on."""
    session_id = str(new_id())
    token = api.behind.auth.token(sid=session_id)
    api.behind.auth.answers["POST /internal/password/reset"] = {"ended": [session_id]}
    before = await api.call("GET", "/api/v1/wallets", token=token)
    body = {"token": "t", "new_password": "long enough"}
    answer = await api.call("POST", f"{BASE}/password/reset", json=body)
    after = await api.call("GET", "/api/v1/wallets", token=token)

    assert [200, 204, 401] == [before.status, answer.status, after.status]


async def test_what_is_wrong_is_named(api: ApiClient) -> None:
    """A token that does not hold has a code of its own; malformed requests name their fields."""
    api.behind.auth.answers["POST /internal/email/verify"] = problem(422, "email_token_invalid")
    spent = await api.call("POST", f"{BASE}/email/verify", json={"token": "t"})
    short = await api.call("POST", f"{BASE}/password/reset", json={"token": "", "new_password": "short"})
    nobody = await api.call("POST", f"{BASE}/password/forgot", json={"email": "alice"})

    assert (422, "email_token_invalid") == (spent.status, spent.json()["code"])
    assert {"token", "new_password"} == {error["field"] for error in short.json()["errors"]}
    assert ["email"] == [error["field"] for error in nobody.json()["errors"]]


@pytest.mark.usefixtures("redis_client")
async def test_letters_are_limited_per_address(open_client: Open) -> None:
    """Twenty letters in ten minutes from one address, for whomever; then 429. Twice that if Redis fails in between."""
    async with open_client(rate_limits="on") as api:
        api.behind.auth.answers["POST /internal/password/forgot"] = {}
        answers = [
            await api.call("POST", f"{BASE}/password/forgot", json={"email": f"user{number}@example.com"})
            for number in range(41)
        ]

    assert {(202, b'{"expires_in":1800}')} == {(answer.status, answer.body) for answer in answers[:20]}
    assert (429, "rate_limited") == (answers[40].status, answers[40].json()["code"])
