"""Authentication: valid and forged access tokens."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from redis.asyncio import Redis as Client

from services.chassis.client import CONNECTIONS_MAX
from services.contracts.identifiers import new_id
from services.gateway.security import revocations
from tests.integration.gateway.conftest import ApiClient, FakeServices, Open, eventually
from tests.integration.gateway.upstream_fakes import Auth

ME = "/api/v1/auth/me"
ALICE = {"email": "a@example.com", "name": "Alice", "role": "user", "email_verified": False}


def _raw(header: dict[str, Any], claims: dict[str, Any], signature: str = "") -> str:
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, claims))
    return ".".join([*parts, signature])


def _promoted(token: str) -> str:
    header, _, signature = token.split(".")
    claims = jwt.decode(token, options={"verify_signature": False}) | {"role": "operator"}
    return f"{header}.{_raw({}, claims).split('.')[1]}.{signature}"


def _respelled(token: str) -> str:
    # Only two bits of the last character of a signature count: other characters decode to the same bytes.
    return token[:-1] + {"A": "B", "Q": "R", "g": "h", "w": "x"}[token[-1]]


def _with_public_key_as_secret(auth: Auth) -> str:
    pem = auth.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    # The library refuses to sign with such a key; an attacker's would not.
    signing_input = _raw({"alg": "HS256", "typ": "at+jwt", "kid": auth.key_id}, auth.claims())[:-1]
    return f"{signing_input}.{jwt.utils.base64url_encode(_hmac(pem, signing_input.encode())).decode()}"


def _hmac(secret: bytes, message: bytes) -> bytes:
    import hmac  # noqa: PLC0415 - for the forger only

    return hmac.digest(secret, message, "sha256")


FOREIGN = Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(65537, 2048)

FORGERIES: dict[str, Callable[[Auth], str]] = {
    "no token": lambda _auth: "",
    "garbled": lambda _auth: "abc.def.ghi",
    "not a token at all": lambda _auth: "x",
    "as long as a book": lambda _auth: "a." * 4000 + "b",
    "signature cut": lambda auth: auth.token()[:-4],
    "signature padded": lambda auth: auth.token() + "==",
    "signature with signs of no alphabet": lambda auth: auth.token() + "!!!!",
    "signature in another spelling": lambda auth: _respelled(auth.token()),
    "claims changed": lambda auth: _promoted(auth.token()),
    "expired": lambda auth: auth.token(iat=int(time.time()) - 700, nbf=None, exp=int(time.time()) - 100),
    "expired this second": lambda auth: auth.token(iat=int(time.time()) - 600, nbf=None, exp=int(time.time())),
    "not yet valid": lambda auth: auth.token(nbf=int(time.time()) + 60),
    "issued in the future": lambda auth: auth.token(iat=int(time.time()) + 60, exp=int(time.time()) + 120),
    "lives too long": lambda auth: auth.token(exp=int(time.time()) + 7200),
    "algorithm none": lambda auth: _raw({"alg": "none", "typ": "at+jwt", "kid": auth.key_id}, auth.claims()),
    "HS256 with the public key": _with_public_key_as_secret,
    "RS256": lambda auth: auth.token(key=RSA, algorithm="RS256"),
    "another key": lambda auth: auth.token(key=FOREIGN),
    "unknown kid": lambda auth: auth.token(header={"kid": "key-2"}),
    "path as kid": lambda auth: auth.token(header={"kid": "../../../../dev/null"}),
    "SQL as kid": lambda auth: auth.token(header={"kid": "' OR 1=1; --"}),
    "empty kid": lambda auth: auth.token(header={"kid": ""}),
    "no kid": lambda auth: _raw({"alg": "EdDSA", "typ": "at+jwt"}, auth.claims(), "AAAA"),
    "jwk header": lambda auth: auth.token(key=FOREIGN, header={"jwk": {"kty": "OKP"}}),
    "jwk header, well signed": lambda auth: auth.token(header={"jwk": auth.jwk()}),
    "jku header": lambda auth: auth.token(header={"jku": "https://evil.example/jwks.json"}),
    "x5u header": lambda auth: auth.token(header={"x5u": "https://evil.example/chain.pem"}),
    "crit header": lambda auth: auth.token(header={"crit": ["exp"]}),
    "typ of another kind": lambda auth: auth.token(header={"typ": "JWT"}),
    "wrong audience": lambda auth: auth.token(aud="wallet"),
    "no audience": lambda auth: auth.token(aud=None),
    "wrong issuer": lambda auth: auth.token(iss="evil"),
    "no issuer": lambda auth: auth.token(iss=None),
    "no exp": lambda auth: auth.token(exp=None),
    "no iat": lambda auth: auth.token(iat=None),
    "no sub": lambda auth: auth.token(sub=None),
    "no jti": lambda auth: auth.token(jti=None),
    "no sid": lambda auth: auth.token(sid=None),
    "sub is no id": lambda auth: auth.token(sub="alice"),
    "sub is a number": lambda auth: auth.token(sub=7),
    "sid is a list": lambda auth: auth.token(sid=["x"]),
    "exp is true": lambda auth: auth.token(exp=True),
    "nbf is text": lambda auth: auth.token(nbf="now"),
    "iat is a fraction": lambda auth: auth.token(iat=time.time() - 1.5),
    "exp is text": lambda auth: _raw(
        {"alg": "EdDSA", "typ": "at+jwt", "kid": auth.key_id}, auth.claims(exp="soon"), "AA"
    ),
    "a refresh token": lambda _auth: base64.urlsafe_b64encode(bytes(range(32))).decode(),
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_forged_tokens_get_the_same_refusal(api: ApiClient, forgery: str) -> None:
    """Guarantee 44: whatever is wrong with a token, the response is the same 401, and no upstream service is called."""
    token = FORGERIES[forgery](api.fakes.auth)

    response = await api.call("GET", ME, headers={"Authorization": f"Bearer {token}"})

    document = response.json()
    assert response.status == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.headers["Content-Type"] == "application/problem+json"
    assert {**document, "request_id": ""} == {
        "type": "urn:payflow:problem:invalid_token",
        "title": "The access token is missing, malformed, expired or revoked.",
        "status": 401,
        "detail": "The access token is missing, malformed, expired or revoked.",
        "code": "invalid_token",
        "errors": [],
        "request_id": "",
    }
    assert not [call for call in api.fakes.auth.calls if "/internal/users" in call.path]


async def test_other_credentials_are_refused(api: ApiClient, token: str) -> None:
    """No header, another scheme, or two tokens count as no token."""
    for headers in ([], [("Authorization", f"Basic {token}")], [("Authorization", f"Bearer {token}")] * 2):
        async with api.session.get(api.url + ME, headers=headers) as response:
            assert response.status == 401


async def test_token_works_until_it_expires(api: ApiClient, user_id: str) -> None:
    """A valid token is accepted, again from the cache, and refused after its expiry."""
    api.fakes.auth.responses[f"GET /internal/users/{user_id}"] = ALICE | {"id": user_id}
    token = api.fakes.auth.token(sub=user_id, exp=int(time.time()) + 2)

    assert (await api.call("GET", ME, token=token)).status == 200
    assert (await api.call("GET", ME, token=token)).status == 200
    await eventually(lambda: _status(api, ME, token, 401))


async def test_operator_endpoints_refuse_users(api: ApiClient, token: str, operator_token: str) -> None:
    """Operator endpoints return 403 to a user and work for an operator."""
    api.fakes.wallet.responses["GET /internal/balance-sheet"] = {
        "as_of": "2026-01-01T00:00:00.000000Z",
        "currencies": [],
    }

    refused = await api.call("GET", "/api/v1/ops/ledger/balance-sheet", token=token)
    allowed = await api.call("GET", "/api/v1/ops/ledger/balance-sheet", token=operator_token)

    assert refused.status == 403
    assert refused.json()["code"] == "operator_required"
    assert allowed.status == 200


async def test_identity_headers_are_ignored(api: ApiClient, token: str, user_id: str) -> None:
    """Guarantee 47: identity headers sent by a client have no effect."""
    other = str(new_id())
    wallet_id = api.fakes.wallet.add(other)
    identity = {
        "X-User-Id": other, "X-Role": "operator", "X-Forwarded-For": "1.2.3.4", "X-Forwarded-User": other,
        "X-Original-Url": "/api/v1/ops/overview", "X-Http-Method-Override": "DELETE",
    }  # fmt: skip

    assert (await api.call("GET", f"/api/v1/wallets/{wallet_id}", token=token, headers=identity)).status == 404
    assert (await api.call("GET", "/api/v1/ops/overview", token=token, headers=identity)).status == 403
    assert (await api.call("GET", ME, headers=identity)).status == 401


async def test_logout_ends_the_session_here_at_once(api: ApiClient, token: str) -> None:
    """After logout the same access token is refused."""
    assert (await api.call("POST", "/api/v1/auth/logout", token=token)).status == 204
    assert (await api.call("GET", "/api/v1/wallets", token=token)).status == 401


async def test_session_ended_elsewhere_is_known_within_a_second(api: ApiClient, user_id: str) -> None:
    """Guarantee 45: the list of ended sessions is pulled every second."""
    session_id = str(new_id())
    token = api.fakes.auth.token(sub=user_id, sid=session_id)
    assert (await api.call("GET", "/api/v1/wallets", token=token)).status == 200

    api.fakes.auth.ended.append(session_id)

    await eventually(lambda: _status(api, "/api/v1/wallets", token, 401))


async def test_only_new_revocations_are_pulled(api: ApiClient) -> None:
    """Revocations are fetched once."""
    api.fakes.auth.ended += [str(new_id()) for _ in range(3)]

    async def asks_for_what_follows() -> bool:
        return api.fakes.auth.calls_to("GET", "/internal/revocations")[-1].query == {"after": "3"}

    await eventually(asks_for_what_follows)


async def test_wakeup_causes_an_immediate_pull(
    open_client: Open, user_id: str, redis_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wake-up in Redis makes the gateway pull at once; without it, it would pull much later."""
    monkeypatch.setattr(revocations, "PULL_EVERY_SECONDS", 60)

    async def listens() -> bool:
        return bool((await redis_client.pubsub_numsub("payflow:revocations"))[0][1])

    async with open_client() as api:
        await eventually(listens)
        for _ in range(3):
            session_id = str(new_id())
            token = api.fakes.auth.token(sub=user_id, sid=session_id)
            assert (await api.call("GET", "/api/v1/wallets", token=token)).status == 200
            api.fakes.auth.ended.append(session_id)
            await redis_client.publish("payflow:revocations", "notify")
            await eventually(partial(_status, api, "/api/v1/wallets", token, 401))


async def test_ended_sessions_stay_ended_while_auth_is_unavailable(api: ApiClient, user_id: str) -> None:
    """While auth is unavailable valid tokens work and ended sessions do not."""
    session_id = str(new_id())
    api.fakes.auth.ended.append(session_id)
    ended = api.fakes.auth.token(sub=user_id, sid=session_id)
    await eventually(lambda: _status(api, "/api/v1/wallets", ended, 401))

    await api.fakes.auth.stop()

    assert (await api.call("GET", "/api/v1/wallets", token=api.fakes.auth.token(sub=user_id))).status == 200
    assert (await api.call("GET", "/api/v1/wallets", token=ended)).status == 401


async def test_new_key_works_without_restart(api: ApiClient, user_id: str) -> None:
    """An unknown key id causes a fetch, after which tokens of a withdrawn key are refused."""
    old = api.fakes.auth.token(sub=user_id)
    assert (await api.call("GET", "/api/v1/wallets", token=old)).status == 200
    api.fakes.auth.key, api.fakes.auth.key_id = Ed25519PrivateKey.generate(), "key-2"
    new = api.fakes.auth.token(sub=user_id)

    await eventually(lambda: _status(api, "/api/v1/wallets", new, 200))

    assert (await api.call("GET", "/api/v1/wallets", token=old)).status == 401


async def test_new_key_while_auth_is_unavailable(api: ApiClient, user_id: str) -> None:
    """A token whose key could not be fetched is not reported as invalid: 503, and it works as soon as auth is back."""
    old = api.fakes.auth.token(sub=user_id)
    api.fakes.auth.key, api.fakes.auth.key_id = Ed25519PrivateKey.generate(), "key-2"
    new = api.fakes.auth.token(sub=user_id)
    await api.fakes.auth.stop()

    unavailable = await api.call("GET", "/api/v1/wallets", token=new)
    known = await api.call("GET", "/api/v1/wallets", token=old)
    malformed = await api.call("GET", "/api/v1/wallets", token="abc.def.ghi")
    await api.fakes.auth.start()

    assert (503, "1") == (unavailable.status, unavailable.headers["Retry-After"])
    assert [200, 401] == [known.status, malformed.status]
    await eventually(lambda: _status(api, "/api/v1/wallets", new, 200))


@pytest.mark.parametrize("ahead_seconds", [3600.0, -3600.0])
async def test_tokens_are_checked_by_the_clock_that_dates_them(
    open_client: Open, fakes: FakeServices, redis_client: Client, ahead_seconds: float
) -> None:
    """Guarantee 39: with the gateway's own clock an hour off, valid tokens work and expired or future ones do not."""
    fakes.auth.ahead_seconds = ahead_seconds
    now, ours = int(fakes.auth.now()), int(time.time())
    good, short = fakes.auth.token(), fakes.auth.token(exp=now + 2)
    bad = [
        fakes.auth.token(iat=now - 700, nbf=None, exp=now - 100),
        fakes.auth.token(nbf=now + 60),
        fakes.auth.token(iat=ours, nbf=ours, exp=ours + 600),
    ]
    async with open_client() as api:
        assert [200, 200] == [(await api.call("GET", "/api/v1/wallets", token=each)).status for each in (good, short)]
        assert [401] * 3 == [(await api.call("GET", "/api/v1/wallets", token=each)).status for each in bad]
        await eventually(lambda: _status(api, "/api/v1/wallets", short, 401))


BURST = 70
"""More than there are connections to one service."""


async def test_a_burst_of_logins_delays_no_other_request(
    open_client: Open, redis_client: Client, token: str, user_id: str
) -> None:
    """While as many passwords wait as there are connections to auth, other requests to auth succeed."""
    async with open_client(passwords_max=CONNECTIONS_MAX) as api:
        api.fakes.auth.responses[f"GET /internal/users/{user_id}"] = ALICE | {"id": user_id}
        api.fakes.auth.silent_at = "/internal/login"
        body = {"email": "bob@example.com", "password": "x"}
        burst: list[asyncio.Future[Any]] = []
        send = partial(api.call, "POST", "/api/v1/auth/login", json=body)
        await eventually(lambda: _all_in_use(burst, send, partial(_received, api, "POST", "/internal/login")))
        response = await api.call("GET", ME, token=token)
        api.fakes.auth.silent_at = None
        await asyncio.gather(*burst)

        assert 200 == response.status


async def test_revocations_are_known_while_auth_is_busy(api: ApiClient, token: str, user_id: str) -> None:
    """Guarantee 45: with every connection to auth in use, a revocation is known within a second."""
    session_id = str(new_id())
    ended = api.fakes.auth.token(sub=user_id, sid=session_id)
    path = f"/internal/users/{user_id}"
    api.fakes.auth.responses[f"GET {path}"] = ALICE | {"id": user_id}
    api.fakes.auth.silent_at = path
    burst: list[asyncio.Future[Any]] = []
    send = partial(api.call, "GET", ME, token=token)
    await eventually(lambda: _all_in_use(burst, send, partial(_received, api, "GET", path)))
    api.fakes.auth.ended.append(session_id)
    await eventually(lambda: _status(api, "/api/v1/wallets", ended, 401))
    # Otherwise the list was only pulled once these requests had timed out and freed their connections.
    assert sum(not task.done() for task in burst) >= CONNECTIONS_MAX
    api.fakes.auth.silent_at = None
    await asyncio.gather(*burst)


async def test_unknown_key_ids_do_not_flood_auth(api: ApiClient) -> None:
    """A hundred tokens with unknown key ids cause a request or two to auth."""
    before = len(api.fakes.auth.calls_to("GET", "/internal/jwks"))
    tokens = [api.fakes.auth.token(header={"kid": f"unknown-{number}"}) for number in range(100)]

    responses = await asyncio.gather(*(api.call("GET", ME, token=token) for token in tokens))

    for token in tokens[:20]:
        assert (await api.call("GET", ME, token=token)).status == 401

    assert {response.status for response in responses} == {401}
    assert len(api.fakes.auth.calls_to("GET", "/internal/jwks")) - before <= 3


async def test_gateway_starts_before_auth(open_client: Open, fakes: FakeServices, token: str) -> None:
    """Without keys it is alive, not ready, and responds with 503; when auth is available it becomes ready by itself."""
    await fakes.auth.stop()
    async with open_client(wait=False) as api:
        not_ready = await api.call("GET", "/readyz")
        refused = await api.call("GET", "/api/v1/wallets", token=token)
        keys = await api.call("GET", "/.well-known/jwks.json")

        assert (await api.call("GET", "/livez")).status == 200
        assert (not_ready.status, not_ready.json()["failing"]) == (503, ["keys", "revocations"])
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        assert keys.status == 503

        await fakes.auth.start()

        await eventually(lambda: _status(api, "/readyz", "", 200))
        assert (await api.call("GET", "/api/v1/wallets", token=token)).status == 200


async def test_keys_are_published(api: ApiClient) -> None:
    """Any client can verify access tokens with the key set of the gateway."""
    response = await api.call("GET", "/.well-known/jwks.json")

    assert response.status == 200
    assert response.json() == {"keys": [api.fakes.auth.jwk()]}


async def _all_in_use(
    burst: list[asyncio.Future[Any]],
    send: Callable[[], Coroutine[Any, Any, Any]],
    received: Callable[[int], Awaitable[bool]],
) -> bool:
    """Whether each connection has a request. On a busy machine one that found no connection in time is sent again."""
    burst[:] = [task for task in burst if not task.done()]
    burst += [asyncio.ensure_future(send()) for _ in range(BURST - len(burst))]
    return await received(CONNECTIONS_MAX)


async def _received(api: ApiClient, method: str, path: str, count: int) -> bool:
    return len(api.fakes.auth.calls_to(method, path)) >= count


async def _status(api: ApiClient, path: str, token: str, status: int) -> bool:
    return (await api.call("GET", path, token=token)).status == status
