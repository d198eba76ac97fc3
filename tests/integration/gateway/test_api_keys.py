"""API keys at the gateway: their users, their scopes, their end, and their cost for auth."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import aiohttp
import jwt
import pytest
from multidict import CIMultiDict
from redis.asyncio import Redis as Client

from services.contracts.api_keys import hash_key, new_key
from services.contracts.identifiers import new_id
from services.gateway.security import rate_limit
from tests.integration.gateway.conftest import ApiClient, FakeServices, Open, Response, eventually
from tests.integration.gateway.upstream_fakes import Auth, problem

KEYS = "/api/v1/api-keys"
WALLETS = "/api/v1/wallets"
VERIFY = "/internal/api-keys/verify"
ALL = ("operate", "read", "transfer")


def _valid(auth: Auth) -> str:
    return auth.api_key(*ALL, role="operator")


def _revoked(auth: Auth) -> str:
    """A key that auth would still verify: only the list of revocations has it."""
    key = _valid(auth)
    auth.ended.append(auth.api_key_id(key))
    return key


def _over(auth: Auth) -> str:
    """A key that auth no longer knows: expired, revoked long ago, or of a disabled user."""
    key = _valid(auth)
    auth.forget_api_key(key)
    return key


def _changed(key: str, place: int) -> str:
    """The key with one character changed."""
    return key[:place] + ("a" if key[place] != "a" else "b") + key[place + 1 :]


WRONG_KEYS: dict[str, Callable[[Auth], str]] = {
    "unknown": lambda _auth: new_key().text,
    "only the mark": lambda _auth: "pfk_",
    "what lists show": lambda _auth: new_key().prefix,
    "what is stored": lambda auth: hash_key(_valid(auth)).hex(),
    "its id": lambda auth: auth.api_key_id(_valid(auth)),
    "cut at its end": lambda auth: _valid(auth)[:-1],
    "cut at its beginning": lambda auth: _valid(auth)[1:],
    "without its checksum": lambda auth: _valid(auth)[:-6],
    "one character more": lambda auth: _valid(auth) + "a",
    "one character of the secret changed": lambda auth: _changed(_valid(auth), 30),
    "one character of the checksum changed": lambda auth: _changed(_valid(auth), -1),
    "another mark": lambda auth: _valid(auth).replace("pfk_", "PFK_"),
    "of another alphabet": lambda auth: _valid(auth)[:-1] + "é",
    "as long as a book": lambda _auth: "pfk_" + "x" * 4000,
    "two in one": lambda auth: _valid(auth) + "," + _valid(auth),
    "a space in it": lambda auth: _valid(auth).replace("_", " "),
}
"""Texts that have never been a key."""

END_OF: dict[str, Callable[[Auth], str]] = {"revoked": _revoked, "over": _over}
"""Keys that were valid until now."""

WRONG_PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "query": lambda key: {"query": {"access_token": key, "api_key": key}},
    "cookie": lambda key: {"headers": {"Cookie": f"Authorization=Bearer {key}; access_token={key}"}},
    "a header of its own": lambda key: {"headers": {"X-Api-Key": key, "X-Authorization": f"Bearer {key}"}},
    "for a proxy": lambda key: {"headers": {"Proxy-Authorization": f"Bearer {key}"}},
    "no scheme": lambda key: {"headers": {"Authorization": key}},
    "another scheme": lambda key: {"headers": {"Authorization": f"Token {key}"}},
    "basic, as name": lambda key: {"headers": {"Authorization": encode_basic(key, "")}},
    "basic, as password": lambda key: {"headers": {"Authorization": encode_basic("", key)}},
    "twice": lambda key: {"headers": CIMultiDict([("Authorization", f"Bearer {key}")] * 2)},
    "twice in one": lambda key: {"headers": {"Authorization": f"Bearer {key}, Bearer {key}"}},
    "after another": lambda key: {
        "headers": CIMultiDict([("Authorization", encode_basic("a", "b")), ("Authorization", f"Bearer {key}")])
    },
}
"""Requests with a valid key in the wrong place."""


def encode_basic(name: str, password: str) -> str:
    """The value of the header for basic authentication."""
    return aiohttp.encode_basic_auth(name, password)


async def wallets(api: ApiClient, key: str) -> int:
    return (await api.call("GET", WALLETS, token=key)).status


async def is_status(api: ApiClient, key: str, status: int) -> bool:
    return await wallets(api, key) == status


def queries(auth: Auth) -> int:
    """How many queries for keys auth received."""
    return len(auth.calls_to("POST", VERIFY))


async def test_key_authenticates_its_user(api: ApiClient, user_id: str) -> None:
    """A key is accepted like an access token, for the wallets of its user; auth is queried once and never receives the key."""
    key = api.fakes.auth.api_key("read", user_id=user_id)
    own, other = api.fakes.wallet.add(user_id), api.fakes.wallet.add(str(new_id()))
    responses = await asyncio.gather(*(api.call("GET", WALLETS, token=key) for _ in range(10)))

    assert {200} == {response.status for response in responses}
    assert [own] == [wallet["id"] for wallet in responses[0].json()["items"]]
    assert 200 == (await api.call("GET", f"{WALLETS}/{own}", token=key)).status
    assert 404 == (await api.call("GET", f"{WALLETS}/{other}", token=key)).status
    assert 1 == queries(api.fakes.auth)
    assert key.rpartition("_")[2] not in str(api.fakes.auth.calls)


async def test_operating_requires_the_role(api: ApiClient) -> None:
    """The scope `operate` of a user without the role gives no access, and all scopes together are not a session."""
    key = api.fakes.auth.api_key("read", "transfer", "operate")
    overview = await api.call("GET", "/api/v1/ops/overview", token=key)
    me = await api.call("GET", "/api/v1/auth/me", token=key)

    assert (403, "operator_required") == (overview.status, overview.json()["code"])
    assert (403, "session_required") == (me.status, me.json()["code"])


async def test_missing_scope_is_named_as_in_rfc_6750(api: ApiClient) -> None:
    """The header names the missing scope; no upstream service was called."""
    response = await api.send(api.fakes.auth.api_key("read"), "key-1")

    assert 'Bearer error="insufficient_scope", scope="transfer"' == response.headers["WWW-Authenticate"]
    assert [] == api.fakes.transaction.calls


async def test_keys_and_sessions_share_idempotency_keys(api: ApiClient, user_id: str) -> None:
    """An Idempotency-Key belongs to the user: a key used by a session is replayed for an API key of the same user."""
    key = api.fakes.auth.api_key("transfer", user_id=user_id)
    other = api.fakes.auth.api_key("transfer")
    first = await api.send(api.fakes.auth.token(sub=user_id), "order-7")
    again = await api.send(key, "order-7")
    unrelated = await api.send(other, "order-7")

    assert [202, 202, 202] == [response.status for response in (first, again, unrelated)]
    assert first.json()["id"] == again.json()["id"] != unrelated.json()["id"]
    assert "true" == again.headers["Idempotent-Replayed"]


async def test_revoked_key_ends_within_a_second(api: ApiClient) -> None:
    """Guarantee 45: a key revoked elsewhere ends through the list of revocations, although its verification is cached."""
    key = api.fakes.auth.api_key("read")
    assert 200 == await wallets(api, key)

    api.fakes.auth.ended.append(api.fakes.auth.api_key_id(key))

    await eventually(lambda: is_status(api, key, 401))
    assert 1 == queries(api.fakes.auth)


async def test_revoking_here_takes_effect_at_once(api: ApiClient, token: str) -> None:
    """The next request with a key that was revoked at this gateway is refused."""
    key = api.fakes.auth.api_key("read")
    key_id = api.fakes.auth.api_key_id(key)
    api.fakes.auth.responses[f"DELETE /internal/api-keys/{key_id}"] = {}
    assert 200 == await wallets(api, key)

    assert 204 == (await api.call("DELETE", f"{KEYS}/{key_id}", token=token)).status
    assert 401 == await wallets(api, key)


async def test_a_key_cannot_manage_keys(api: ApiClient) -> None:
    """Whatever its scopes, a key cannot create, list or revoke keys."""
    key = api.fakes.auth.api_key("read", "transfer", "operate", role="operator")
    for method, path in (("POST", KEYS), ("GET", KEYS), ("DELETE", f"{KEYS}/{api.fakes.auth.api_key_id(key)}")):
        response = await api.call(method, path, token=key, json={"name": "x", "scopes": ["read"]})
        assert (403, "session_required") == (response.status, response.json()["code"])


async def test_a_session_creates_and_lists_keys(api: ApiClient, token: str, user_id: str) -> None:
    """The session's user is the owner, whatever the body says; invalid fields are named before auth is called."""
    made = {"id": str(new_id()), "name": "server", "scopes": ["read"], "key": "k", "prefix": "p", "expires_at": None}
    api.fakes.auth.responses |= {"POST /internal/api-keys": made, "GET /internal/api-keys": {"items": []}}
    body: dict[str, Any] = {"name": "server", "scopes": ["read"], "password": "correct horse"}
    body |= {"expires_at": "2100-01-01T02:00:00+02:00"}
    created = await api.call("POST", KEYS, token=token, json=body)
    listed = await api.call("GET", KEYS, token=token)
    faulty = await api.call(
        "POST", KEYS, token=token, json={"name": "", "scopes": ["all"], "expires_at": "soon", "user_id": user_id}
    )
    twice = await api.call("POST", KEYS, token=token, json=body | {"scopes": ["read", "read"]})
    [call] = api.fakes.auth.calls_to("POST", "/internal/api-keys")

    assert (201, f"{KEYS}/{made['id']}") == (created.status, created.headers["Location"])
    session_id = jwt.decode(token, options={"verify_signature": False})["sid"]
    owner = {"user_id": user_id, "session_id": session_id}
    assert body | owner | {"expires_at": "2100-01-01T00:00:00Z", "totp": None} == call.body
    assert {"items": [], "next_cursor": None} == listed.json()
    assert {"name", "scopes.0", "password", "expires_at", "user_id"} == {
        each["field"] for each in faulty.json()["errors"]
    }
    assert (422, ["scopes"]) == (twice.status, [each["field"] for each in twice.json()["errors"]])


async def test_key_creation_throttles_wrong_passwords(
    open_client: Open, fakes: FakeServices, redis_client: Client, token: str
) -> None:
    """Wrong passwords for a key are counted together with all others: after a few none is checked."""
    assert await redis_client.dbsize() == 0
    fakes.auth.responses["POST /internal/api-keys"] = problem(401, "invalid_credentials")
    body = {"name": "server", "scopes": ["read"], "password": "wrong"}
    async with open_client(rate_limits="on") as api:
        responses = [await api.call("POST", KEYS, token=token, json=body) for _ in range(7)]
        elsewhere = await api.call("POST", "/api/v1/auth/totp", token=token, json={"password": "wrong"})

    assert [401] * 5 == [response.status for response in responses[:5]]
    assert [429, 429] == [responses[-1].status, elsewhere.status]
    assert len(fakes.auth.calls_to("POST", "/internal/api-keys")) <= 6


async def test_malformed_keys_cause_no_query(api: ApiClient) -> None:
    """Keys with a wrong format or checksum are refused locally; an unknown key causes one query in ten seconds."""
    unknown = new_key().text
    mistyped = unknown[:-1] + ("a" if unknown[-1] != "a" else "b")
    statuses = [await wallets(api, key) for key in (mistyped, "pfk_", "pfk_" + "x" * 5000, unknown[:-1])]

    assert ([401] * 4, 0) == (statuses, queries(api.fakes.auth))
    assert [401] * 10 == [await wallets(api, unknown) for _ in range(10)]
    assert 1 == queries(api.fakes.auth)


async def test_unknown_keys_are_counted_for_their_address(
    open_client: Open, fakes: FakeServices, redis_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that tries keys is limited after a few; cached keys continue to work from it."""
    assert await redis_client.dbsize() == 0
    _tighten(monkeypatch, "wrong_key")
    valid = fakes.auth.api_key("read")
    async with open_client(rate_limits="on") as api:
        assert 200 == await wallets(api, valid)
        responses: list[Response] = [await api.call("GET", WALLETS, token=new_key().text) for _ in range(6)]

        assert [401] * 5 + [429] == [response.status for response in responses]
        assert int(responses[-1].headers["Retry-After"]) > 0
        assert 6 == queries(fakes.auth)
        assert 200 == await wallets(api, valid)


async def test_keys_are_limited_on_their_own(
    open_client: Open, fakes: FakeServices, user_id: str, redis_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each key has its own quota: neither another key nor a session of the same user is affected by it."""
    assert await redis_client.dbsize() == 0
    _tighten(monkeypatch, "key", "user")
    busy, quiet = (fakes.auth.api_key("read", user_id=user_id) for _ in range(2))
    async with open_client(rate_limits="on") as api:
        assert [200] * 5 + [429] == [await wallets(api, busy) for _ in range(6)]
        assert [200, 200] == [await wallets(api, each) for each in (quiet, fakes.auth.token(sub=user_id))]


def _tighten(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Five a minute for each of these limits."""
    made = {name: replace(limit, amount=5) if name in names else limit for name, limit in rate_limit.LIMITS.items()}
    monkeypatch.setattr(rate_limit, "limits_of", lambda _settings: made)


async def test_without_auth_known_keys_work_until_their_end(api: ApiClient) -> None:
    """While auth is unavailable a cached key works until its end, an unknown one gets 503; then both get 503."""
    short, long = api.fakes.auth.api_key("read", seconds=1.0), api.fakes.auth.api_key("read")
    unknown = api.fakes.auth.api_key("read")
    assert [200, 200] == [await wallets(api, key) for key in (short, long)]

    await api.fakes.auth.stop()
    refused = await api.call("GET", WALLETS, token=unknown)

    assert (503, "api_key_unverified") == (refused.status, refused.json()["code"])
    assert int(refused.headers["Retry-After"]) > 0
    await eventually(lambda: is_status(api, short, 503))
    assert 200 == await wallets(api, long)


async def test_key_ends_at_its_expiry(api: ApiClient) -> None:
    """The end is checked each time: after it a cached key is verified again, and may be refused."""
    key = api.fakes.auth.api_key("read", seconds=0.3)
    assert 200 == await wallets(api, key)
    api.fakes.auth.keys.clear()

    await eventually(lambda: is_status(api, key, 401))


async def test_use_in_a_new_hour_is_reported_in_the_background(api: ApiClient) -> None:
    """After the hour the next use is reported to auth in the background; the request succeeds without a response of auth."""
    key = api.fakes.auth.api_key("read", fresh_seconds=0.0)
    assert 200 == await wallets(api, key)
    api.fakes.auth.silent_at = VERIFY
    assert [200] * 5 == [await wallets(api, key) for _ in range(5)]

    async def is_reported() -> bool:
        return queries(api.fakes.auth) == 2

    await eventually(is_reported)


async def test_a_failure_of_auth_is_not_cached(api: ApiClient) -> None:
    """A key is unknown only if auth reports it: a 503 of auth is passed on, and not cached."""
    key = api.fakes.auth.api_key("read")
    api.fakes.auth.responses[f"POST {VERIFY}"] = problem(503, "database_unavailable")
    first = await wallets(api, key)
    del api.fakes.auth.responses[f"POST {VERIFY}"]

    assert [503, 200] == [first, await wallets(api, key)]
