"""API keys in the client and on the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from payflow.client import PayFlow
from payflow.errors import ApiKeyRefused, Misconfigured, NotLoggedIn, Problem
from payflow.session import MemorySessionStore
from tests.integration.payflow.test_sessions import EMAIL, PASSWORD

KEY = "pfk_AbCdEfGhIjKl_secret"
KEY_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
LISTED = {
    "id": KEY_ID,
    "name": "till",
    "scopes": ["read", "transfer"],
    "prefix": "pfk_AbCdEfGhIjKl",
    "created_at": "2026-01-02T12:00:00.000000Z",
    "last_used_at": None,
    "expires_at": "2030-01-31T00:00:00.000000Z",
    "revoked_at": None,
}


@pytest.fixture(autouse=True)
def server(gateway: Any, faults: Any) -> None:
    """A gateway that knows an API key of Alice."""
    gateway.access[KEY] = gateway.users[EMAIL]
    gateway.documents["/wallets"] = {"items": [], "next_cursor": None}
    gateway.always["POST /api-keys"] = faults.document({**LISTED, "key": KEY})
    gateway.always[f"DELETE /api-keys/{KEY_ID}"] = faults.respond("")
    gateway.documents["/api-keys"] = {"items": [LISTED], "next_cursor": None}


async def test_client_with_a_key(gateway: Any) -> None:
    """Every request carries the key; there is no login, and the client pays as its user does."""
    async with PayFlow(gateway.url, api_key=KEY) as client:
        await client.wallets()
        sent = await client.send(amount=5, currency="USD", to_email="bob@example.com")

        assert client.user is None

    assert sent.is_finalized
    assert {f"Bearer {KEY}"} == {request.headers["Authorization"] for request in gateway.requests}


async def test_key_that_was_revoked(gateway: Any) -> None:
    """A revoked key raises ApiKeyRefused, after two requests at most."""
    gateway.end_sessions()
    async with PayFlow(gateway.url, api_key=KEY) as client:
        with pytest.raises(ApiKeyRefused) as caught:
            await client.wallets()

    assert 2 >= len(gateway.requests)
    assert KEY not in str(caught.value)
    assert not caught.value.retry_helps


async def test_what_needs_a_session(gateway: Any) -> None:
    """With a key, calls that begin or end a session raise, and nothing is sent."""
    async with PayFlow(gateway.url, api_key=KEY) as client:
        for refused in (client.login(EMAIL, PASSWORD), client.change_password(PASSWORD, "another one")):
            with pytest.raises(Misconfigured):
                await refused
        with pytest.raises(NotLoggedIn):
            await client.logout()

    assert gateway.requests == []


@pytest.mark.parametrize("beside", [{"email": EMAIL, "password": PASSWORD}, {"session_store": MemorySessionStore()}])
async def test_key_beside_a_session(beside: dict[str, Any]) -> None:
    """A key together with session credentials raises Misconfigured."""
    with pytest.raises(Misconfigured):
        PayFlow("http://127.0.0.1:8000", api_key=KEY, **beside)


async def test_missing_scope_is_a_problem(gateway: Any, faults: Any) -> None:
    """A missing scope is a problem with its code; the request is sent once."""
    gateway.always["GET /wallets"] = faults.refuse(403, "insufficient_scope")
    async with PayFlow(gateway.url, api_key=KEY) as client:
        with pytest.raises(Problem) as caught:
            await client.wallets()

    assert ("insufficient_scope", 1) == (caught.value.code, len(gateway.requests))


async def test_keys_are_created_listed_and_revoked(gateway: Any, alice: PayFlow) -> None:
    """A session creates a key, which is returned once and not in `repr`, lists keys and revokes one."""
    created = await alice.create_api_key(
        "till", ["read", "transfer"], password=PASSWORD, totp="123456", expires_at=datetime(2030, 1, 31, tzinfo=UTC)
    )
    [listed] = await alice.api_keys()
    await alice.revoke_api_key(KEY_ID)
    [request] = gateway.seen("POST /api-keys")

    proof = {"password": PASSWORD, "totp": "123456"}
    what = {"name": "till", "scopes": ["read", "transfer"], "expires_at": "2030-01-31T00:00:00.000000Z"}
    assert what | proof == request.body
    assert KEY == created.key
    assert KEY not in repr(created)
    assert created.listed == listed
    assert ("till", ("read", "transfer"), None) == (listed.name, listed.scopes, listed.last_used_at)
    assert gateway.seen(f"DELETE /api-keys/{KEY_ID}")


async def test_commands(gateway: Any, run: Any) -> None:
    """Standard output is the key alone; a list never contains it; a revocation names the id."""
    await run("login", EMAIL)
    created = await run(
        "api-keys", "create", "till", "--scope", "read", "--scope", "transfer", "--expires", "2030-01-31"
    )
    listed = await run("api-keys", "list")
    as_json = await run("api-keys", "list", "--json")
    revoked = await run("api-keys", "revoke", KEY_ID)

    assert (0, f"{KEY}\n") == (created.code, created.out)
    assert "till" in created.err
    assert KEY not in created.err
    [request] = gateway.seen("POST /api-keys")
    assert (["read", "transfer"], PASSWORD) == (request.body["scopes"], request.body["password"])
    assert all(word in listed.out for word in (KEY_ID, "till", "pfk_AbCdEfGhIjKl_", "read transfer", "2030-01-31"))
    assert {"items": [LISTED]} == json.loads(as_json.out)
    assert (0, f"revoked {KEY_ID}\n") == (revoked.code, revoked.out)
    assert 2 == (await run("api-keys", "create", "till")).code
    assert 2 == (await run("api-keys", "create", "till", "--scope", "all")).code
