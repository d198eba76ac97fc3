"""Who may move money: the routes of the wallet service with callers of every kind."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import aiohttp
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.chassis import server
from services.chassis.database import Pool
from services.chassis.replica import Reader
from services.chassis.service_tokens import Identity, TokenSigner, TokenVerifier
from services.contracts.identifiers import new_id
from services.wallet import api
from tests.harness.services import identities

POST = "/internal/post"
VOID = "/internal/void"
MAY = {
    POST: {"transaction-worker"},
    VOID: {"transaction-worker", "transaction-reversal", "transaction"},
}


class Wallet:
    """The api of the wallet service on a free port, and the keys of all roles."""

    def __init__(self, url: str, keys: dict[str, Identity]) -> None:
        self.url = url
        self.keys = keys

    async def status(self, path: str, token: str | None) -> int:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        item = {"transfer_id": str(new_id()), "reason": "cancelled", "request_hash": "ab" * 32}
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.url + path, json={"items": [item]}, headers=headers) as response,
        ):
            return response.status


@pytest.fixture
async def wallet(pool: Pool) -> AsyncIterator[Wallet]:
    keys = identities()
    app = server.application("wallet")
    app[api.POOL] = pool
    app[api.READ_POOL] = pool
    app[api.READER] = Reader(pool)
    app[api.PROOF_POOL] = pool
    api.add_routes(app, TokenVerifier(keys["wallet"].public_keys, audience="wallet"))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield Wallet(f"http://127.0.0.1:{runner.addresses[0][1]}", keys)
    await runner.cleanup()


@pytest.mark.parametrize("path", [POST, VOID])
async def test_only_the_named_roles_may_call(wallet: Wallet, path: str) -> None:
    """Guarantee 48: post for the worker alone; void for worker, reversal and transaction api; other services 403."""
    statuses = {
        name: await wallet.status(path, TokenSigner(key, audience="wallet").token())
        for name, key in wallet.keys.items()
    }

    # An allowed caller passes the guard: its body is a void, which `post` refuses as malformed.
    welcome = 200 if path == VOID else 422
    assert {name: welcome if name in MAY[path] else 403 for name in wallet.keys} == statuses


@pytest.mark.parametrize("path", [POST, VOID])
async def test_unknown_callers_are_refused(wallet: Wallet, path: str) -> None:
    """Guarantee 48: no token or an expired one: 401; the token of a user, for another audience or forged: 403."""
    worker = wallet.keys["transaction-worker"]
    now = int(time.time())
    claims = {"iss": "transaction-worker", "aud": "wallet", "iat": now, "exp": now + 60}
    kid = {"kid": "transaction-worker"}
    forged = jwt.encode(claims, Ed25519PrivateKey.generate(), algorithm="EdDSA", headers=kid)
    expired = jwt.encode(claims | {"iat": now - 120, "exp": now - 60}, worker.key, algorithm="EdDSA", headers=kid)
    long_lived = jwt.encode(claims | {"exp": now + 3600}, worker.key, algorithm="EdDSA", headers=kid)
    user = jwt.encode({"sub": "user", "aud": "payflow-api"}, "x" * 32, algorithm="HS256")
    elsewhere = TokenSigner(worker, audience="auth").token()

    assert [401] * 3 == [await wallet.status(path, token) for token in (None, "no token", expired)]
    for token in (forged, long_lived, user, elsewhere):
        assert 403 == await wallet.status(path, token)
