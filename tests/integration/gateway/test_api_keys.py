"""API keys at the gateway: whom they speak for, what they may, how they end, and what they cost auth."""

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
from tests.integration.gateway.conftest import ApiClient, Behind, Open, Reply, eventually
from tests.integration.gateway.upstream_fakes import Auth, problem

KEYS = "/api/v1/api-keys"
WALLETS = "/api/v1/wallets"
VERIFY = "/internal/api-keys/verify"
ALL = ("operate", "read", "transfer")


def _good(auth: Auth) -> str:
    return auth.api_key(*ALL, role="operator")


def _revoked(auth: Auth) -> str:
    """One that auth would still vouch for: only the list of what has ended tells."""
    key = _good(auth)
    auth.ended.append(auth.api_key_id(key))
    return key


def _over(auth: Auth) -> str:
    """One that auth does not know any more: expired, revoked long ago, or of a user who was disabled."""
    key = _good(auth)
    auth.forget_api_key(key)
    return key


def _changed(key: str, place: int) -> str:
    """One character is another."""
    return key[:place] + ("a" if key[place] != "a" else "b") + key[place + 1 :]


WRONG_KEYS: dict[str, Callable[[Auth], str]] = {
    "unknown": lambda _auth: new_key().text,
    "only the mark": lambda _auth: "pfk_",
    "what lists show": lambda _auth: new_key().prefix,
    "what is stored": lambda auth: hash_key(_good(auth)).hex(),
    "its id": lambda auth: auth.api_key_id(_good(auth)),
    "cut at its end": lambda auth: _good(auth)[:-1],
    "cut at its beginning": lambda auth: _good(auth)[1:],
    "without its checksum": lambda auth: _good(auth)[:-6],
    "one character more": lambda auth: _good(auth) + "a",
    "one character of the secret changed": lambda auth: _changed(_good(auth), 30),
    "one character of the checksum changed": lambda auth: _changed(_good(auth), -1),
    "another mark": lambda auth: _good(auth).replace("pfk_", "PFK_"),
    "of another alphabet": lambda auth: _good(auth)[:-1] + "é",
    "as long as a book": lambda _auth: "pfk_" + "x" * 4000,
    "two in one": lambda auth: _good(auth) + "," + _good(auth),
    "a space in it": lambda auth: _good(auth).replace("_", " "),
}
"""Keys that never were any."""

END_OF: dict[str, Callable[[Auth], str]] = {"revoked": _revoked, "over": _over}
"""Keys that were good until now."""

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
"""Requests that carry a good key where none is looked for."""


def encode_basic(name: str, password: str) -> str:
    """The value of the header for the scheme that every client knows."""
    return aiohttp.encode_basic_auth(name, password)


async def wallets(api: ApiClient, key: str) -> int:
    return (await api.call("GET", WALLETS, token=key)).status


async def is_status(api: ApiClient, key: str, status: int) -> bool:
    return await wallets(api, key) == status


def asked(auth: Auth) -> int:
    """How often auth was asked about a key."""
    return len(auth.calls_to("POST", VERIFY))


async def test_key_speaks_for_its_user(api: ApiClient, user_id: str) -> None:
    """A key is taken where a session's token is, for the wallets of its user; auth is asked once and never gets the key."""
    key = api.behind.auth.api_key("read", user_id=user_id)
    own, other = api.behind.wallet.add(user_id), api.behind.wallet.add(str(new_id()))
    answers = await asyncio.gather(*(api.call("GET", WALLETS, token=key) for _ in range(10)))

    assert {200} == {answer.status for answer in answers}
    assert [own] == [wallet["id"] for wallet in answers[0].json()["items"]]
    assert 200 == (await api.call("GET", f"{WALLETS}/{own}", token=key)).status
    assert 404 == (await api.call("GET", f"{WALLETS}/{other}", token=key)).status
    assert 1 == asked(api.behind.auth)
    assert key.rpartition("_")[2] not in str(api.behind.auth.calls)


async def test_operating_needs_the_role_too(api: ApiClient) -> None:
    """A key that operates in the hands of a user who is no operator opens nothing, and every scope together no session."""
    key = api.behind.auth.api_key("read", "transfer", "operate")
    overview = await api.call("GET", "/api/v1/ops/overview", token=key)
    me = await api.call("GET", "/api/v1/auth/me", token=key)

    assert (403, "operator_required") == (overview.status, overview.json()["code"])
    assert (403, "session_required") == (me.status, me.json()["code"])


async def test_missing_scope_is_told_as_rfc_6750_has_it(api: ApiClient) -> None:
    """The header names the scope for libraries that know the standard; nothing reached a service behind."""
    answer = await api.send(api.behind.auth.api_key("read"), "key-1")

    assert 'Bearer error="insufficient_scope", scope="transfer"' == answer.headers["WWW-Authenticate"]
    assert [] == api.behind.transaction.calls


async def test_keys_and_sessions_share_idempotency_keys(api: ApiClient, user_id: str) -> None:
    """An Idempotency-Key belongs to the user: used by a session, it is answered again to an API key of the same user."""
    key = api.behind.auth.api_key("transfer", user_id=user_id)
    other = api.behind.auth.api_key("transfer")
    first = await api.send(api.behind.auth.token(sub=user_id), "order-7")
    again = await api.send(key, "order-7")
    strangers = await api.send(other, "order-7")

    assert [202, 202, 202] == [answer.status for answer in (first, again, strangers)]
    assert first.json()["id"] == again.json()["id"] != strangers.json()["id"]
    assert "true" == again.headers["Idempotent-Replayed"]


async def test_revoked_key_ends_within_a_second(api: ApiClient) -> None:
    """Guarantee 45: a key that was revoked elsewhere ends through the list of ended sessions, though it is remembered."""
    key = api.behind.auth.api_key("read")
    assert 200 == await wallets(api, key)

    api.behind.auth.ended.append(api.behind.auth.api_key_id(key))

    await eventually(lambda: is_status(api, key, 401))
    assert 1 == asked(api.behind.auth)


async def test_revoking_here_takes_effect_at_once(api: ApiClient, token: str) -> None:
    """The very next request with a key that was revoked at this gateway is refused."""
    key = api.behind.auth.api_key("read")
    key_id = api.behind.auth.api_key_id(key)
    api.behind.auth.answers[f"DELETE /internal/api-keys/{key_id}"] = {}
    assert 200 == await wallets(api, key)

    assert 204 == (await api.call("DELETE", f"{KEYS}/{key_id}", token=token)).status
    assert 401 == await wallets(api, key)


async def test_a_key_does_not_make_or_end_keys(api: ApiClient) -> None:
    """Whatever its scopes, a key neither makes nor lists nor revokes keys."""
    key = api.behind.auth.api_key("read", "transfer", "operate", role="operator")
    for method, path in (("POST", KEYS), ("GET", KEYS), ("DELETE", f"{KEYS}/{api.behind.auth.api_key_id(key)}")):
        answer = await api.call(method, path, token=key, json={"name": "x", "scopes": ["read"]})
        assert (403, "session_required") == (answer.status, answer.json()["code"])


async def test_keys_are_made_and_listed_by_a_session(api: ApiClient, token: str, user_id: str) -> None:
    """The session's user is the owner, whoever the body names; faulty fields are named before anybody is asked."""
    made = {"id": str(new_id()), "name": "server", "scopes": ["read"], "key": "k", "prefix": "p", "expires_at": None}
    api.behind.auth.answers |= {"POST /internal/api-keys": made, "GET /internal/api-keys": {"items": []}}
    body: dict[str, Any] = {"name": "server", "scopes": ["read"], "password": "correct horse"}
    body |= {"expires_at": "2100-01-01T02:00:00+02:00"}
    created = await api.call("POST", KEYS, token=token, json=body)
    listed = await api.call("GET", KEYS, token=token)
    faulty = await api.call(
        "POST", KEYS, token=token, json={"name": "", "scopes": ["all"], "expires_at": "soon", "user_id": user_id}
    )
    twice = await api.call("POST", KEYS, token=token, json=body | {"scopes": ["read", "read"]})
    [call] = api.behind.auth.calls_to("POST", "/internal/api-keys")

    assert (201, f"{KEYS}/{made['id']}") == (created.status, created.headers["Location"])
    session_id = jwt.decode(token, options={"verify_signature": False})["sid"]
    who = {"user_id": user_id, "session_id": session_id}
    assert body | who | {"expires_at": "2100-01-01T00:00:00Z", "totp": None} == call.body
    assert {"items": [], "next_cursor": None} == listed.json()
    assert {"name", "scopes.0", "password", "expires_at", "user_id"} == {
        each["field"] for each in faulty.json()["errors"]
    }
    assert (422, ["scopes"]) == (twice.status, [each["field"] for each in twice.json()["errors"]])


async def test_who_holds_a_token_does_not_guess_the_password_by_keys(
    open_client: Open, behind: Behind, redis_client: Client, token: str
) -> None:
    """Wrong passwords shown for a key are counted with those shown elsewhere: after a few none is looked at."""
    assert await redis_client.dbsize() == 0
    behind.auth.answers["POST /internal/api-keys"] = problem(401, "invalid_credentials")
    body = {"name": "server", "scopes": ["read"], "password": "wrong"}
    async with open_client(rate_limits="on") as api:
        answers = [await api.call("POST", KEYS, token=token, json=body) for _ in range(7)]
        elsewhere = await api.call("POST", "/api/v1/auth/totp", token=token, json={"password": "wrong"})

    assert [401] * 5 == [answer.status for answer in answers[:5]]
    assert [429, 429] == [answers[-1].status, elsewhere.status]
    assert len(behind.auth.calls_to("POST", "/internal/api-keys")) <= 6


async def test_what_is_no_key_costs_auth_nothing(api: ApiClient) -> None:
    """Keys with a wrong form or checksum are refused here; one that is unknown is asked about once in ten seconds."""
    unknown = new_key().text
    mistyped = unknown[:-1] + ("a" if unknown[-1] != "a" else "b")
    statuses = [await wallets(api, key) for key in (mistyped, "pfk_", "pfk_" + "x" * 5000, unknown[:-1])]

    assert ([401] * 4, 0) == (statuses, asked(api.behind.auth))
    assert [401] * 10 == [await wallets(api, unknown) for _ in range(10)]
    assert 1 == asked(api.behind.auth)


async def test_unknown_keys_are_counted_for_their_address(
    open_client: Open, behind: Behind, redis_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who tries keys is stopped after a few; keys that are remembered go on from the same address."""
    assert await redis_client.dbsize() == 0
    _tighten(monkeypatch, "wrong_key")
    good = behind.auth.api_key("read")
    async with open_client(rate_limits="on") as api:
        assert 200 == await wallets(api, good)
        answers: list[Reply] = [await api.call("GET", WALLETS, token=new_key().text) for _ in range(6)]

        assert [401] * 5 + [429] == [answer.status for answer in answers]
        assert int(answers[-1].headers["Retry-After"]) > 0
        assert 6 == asked(behind.auth)
        assert 200 == await wallets(api, good)


async def test_keys_are_limited_on_their_own(
    open_client: Open, behind: Behind, user_id: str, redis_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each key has an allowance of its own: neither another key nor a session of the same user is held up by it."""
    assert await redis_client.dbsize() == 0
    _tighten(monkeypatch, "key", "user")
    busy, quiet = (behind.auth.api_key("read", user_id=user_id) for _ in range(2))
    async with open_client(rate_limits="on") as api:
        assert [200] * 5 + [429] == [await wallets(api, busy) for _ in range(6)]
        assert [200, 200] == [await wallets(api, each) for each in (quiet, behind.auth.token(sub=user_id))]


def _tighten(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Five a minute for each of these limits."""
    made = {name: replace(limit, amount=5) if name in names else limit for name, limit in rate_limit.LIMITS.items()}
    monkeypatch.setattr(rate_limit, "limits_of", lambda _settings: made)


async def test_without_auth_known_keys_work_until_their_end(api: ApiClient) -> None:
    """With auth away a remembered key works as long as auth said, an unknown one gets 503; then both get 503."""
    short, long = api.behind.auth.api_key("read", seconds=1.0), api.behind.auth.api_key("read")
    unknown = api.behind.auth.api_key("read")
    assert [200, 200] == [await wallets(api, key) for key in (short, long)]

    await api.behind.auth.stop()
    refused = await api.call("GET", WALLETS, token=unknown)

    assert (503, "api_key_unverified") == (refused.status, refused.json()["code"])
    assert int(refused.headers["Retry-After"]) > 0
    await eventually(lambda: is_status(api, short, 503))
    assert 200 == await wallets(api, long)


async def test_key_ends_when_its_time_is_over(api: ApiClient) -> None:
    """The end is checked each time: a remembered key is asked about again after it, and may be gone."""
    key = api.behind.auth.api_key("read", seconds=0.3)
    assert 200 == await wallets(api, key)
    api.behind.auth.keys.clear()

    await eventually(lambda: is_status(api, key, 401))


async def test_a_new_hour_is_told_behind_the_back(api: ApiClient) -> None:
    """When the hour ends auth is told of the next use, while the request does not wait; with auth silent it goes on."""
    key = api.behind.auth.api_key("read", fresh_seconds=0.0)
    assert 200 == await wallets(api, key)
    api.behind.auth.silent_at = VERIFY
    assert [200] * 5 == [await wallets(api, key) for _ in range(5)]

    async def told_once() -> bool:
        return asked(api.behind.auth) == 2

    await eventually(told_once)


async def test_auth_in_trouble_is_no_verdict(api: ApiClient) -> None:
    """A key is unknown only if auth says so: its 503 is passed on as one, and not remembered."""
    key = api.behind.auth.api_key("read")
    api.behind.auth.answers[f"POST {VERIFY}"] = problem(503, "database_unavailable")
    first = await wallets(api, key)
    del api.behind.auth.answers[f"POST {VERIFY}"]

    assert [503, 200] == [first, await wallets(api, key)]
