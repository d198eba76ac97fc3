"""The auth service in this process, and its callers with their service tokens."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from argon2 import Parameters, Type
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.auth import app
from services.auth.keyring import Keyring
from services.auth.passwords import Hashing
from services.auth.rules.known_locations import LocationHasher
from services.auth.rules.probes import Probes
from services.auth.wakeup import Wakeup
from services.chassis.database import Pool
from services.chassis.service_tokens import Identity, TokenSigner, TokenVerifier

QUICK = Parameters(type=Type.ID, version=19, salt_len=16, hash_len=32, time_cost=1, memory_cost=8, parallelism=1)
PROBE_SECRET = "k3Vq9sZ1xT7pL5mB2nR8dF4wY6uH0aGc"
"""Of the canary."""

SECRET = "kEu2-Zb9w_tQ4xHc8-Vn1r_Lm6yPd3-Gs5j"
IDENTITIES = ("gateway", "auth", "wallet", "transaction", "transaction-worker", "notification", "notification-deliver")
SEEDS = {name: base64.b64encode(secrets.token_bytes(32)).decode() for name in IDENTITIES}
PUBLIC_KEYS = {
    name: base64.b64encode(
        Ed25519PrivateKey.from_private_bytes(base64.b64decode(seed)).public_key().public_bytes_raw()
    ).decode()
    for name, seed in SEEDS.items()
}


def identity(name: str) -> Identity:
    return Identity.from_base64(SEEDS[name], PUBLIC_KEYS)


@dataclass(frozen=True, slots=True)
class Response:
    """A response; `body` is None if it is empty."""

    status: int
    body: Any
    headers: Any


class AuthService:
    """A running auth service as its callers see it."""

    def __init__(self, url: str, application: web.Application, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.application = application
        self._session = session

    async def call(self, method: str, path: str, body: Any = None, *, by: str = "gateway", **options: Any) -> Response:
        """Call as one of the services."""
        token = TokenSigner(identity(by), audience="auth").token()
        headers = {"Authorization": f"Bearer {token}"} | options.pop("headers", {})
        return await self.send(method, path, body, headers=headers, **options)

    async def send(self, method: str, path: str, body: Any = None, **options: Any) -> Response:
        """Send a request without a service token."""
        sent = options if body is None else options | {"json": body}
        async with self._session.request(method, self.url + path, **sent) as response:
            return Response(response.status, await response.json(content_type=None), response.headers)

    async def register(self, email: str, password: str = "correct horse", name: str = "Alice") -> dict[str, Any]:
        response = await self.call("POST", "/internal/register", {"email": email, "password": password, "name": name})
        assert response.status == 201, response
        return response.body

    async def log_in(self, email: str, password: str = "correct horse", **more: str) -> Response:
        return await self.call("POST", "/internal/login", {"email": email, "password": password} | more)

    async def refresh(self, refresh_token: str) -> Response:
        return await self.call("POST", "/internal/refresh", {"refresh_token": refresh_token})

    async def revocations(self, after: int = 0) -> Any:
        """A page of the feed; retried while no connection is free."""
        while (response := await self.call("GET", f"/internal/revocations?after={after}")).status == 503:
            await asyncio.sleep(0.05)
        return response.body


async def register_operator(auth: AuthService, pool: Pool, email: str = "ops@example.com") -> str:
    """Register an operator and return the id."""
    user_id = str((await auth.register(email))["user"]["id"])
    await pool.execute("UPDATE users SET role = 'operator' WHERE id = $1::uuid", user_id)
    return user_id


@asynccontextmanager
async def running(
    pool: Pool, *, profile: Parameters = QUICK, wakeup: Wakeup | None = None, **limits: int
) -> AsyncIterator[AuthService]:
    """Run the service on this database until the block ends."""
    hashing, wakeup = Hashing(profile, **limits), wakeup or Wakeup(None)
    verifier = TokenVerifier(identity("auth").public_keys, audience="auth")
    server = TestServer(
        app.application(
            pool,
            pool,
            Keyring(SECRET),
            hashing=hashing,
            wakeup=wakeup,
            locations=LocationHasher(SECRET),
            probes=Probes(PROBE_SECRET),
            verifier=verifier,
        )
    )
    await server.start_server()
    try:
        async with aiohttp.ClientSession() as session:
            yield AuthService(str(server.make_url("")).rstrip("/"), server.app, session)
    finally:
        await server.close()
        await wakeup.close()
        hashing.close()
