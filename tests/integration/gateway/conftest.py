"""A gateway in this process, with fake upstream services and a real Redis."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from multidict import CIMultiDict, CIMultiDictProxy
from redis.asyncio import Redis as Client

from deploy.local.engines import Redis
from deploy.local.ports import find_free
from services.chassis.roles import Runtime
from services.contracts.identifiers import new_id
from services.gateway import cache as cache_module
from services.gateway.app import serve_api
from services.gateway.settings import GatewaySettings
from tests.integration.gateway.upstream_fakes import Auth, Notification, Service, Transaction, Wallet

SEED = bytes(range(32))
PUBLIC_KEYS = {"gateway": Ed25519PrivateKey.from_private_bytes(SEED).public_key()}


@dataclass
class FakeServices:
    """The fake upstream services."""

    auth: Auth
    wallet: Wallet
    transaction: Transaction
    notification: Notification

    def all(self) -> tuple[Service, ...]:
        return self.auth, self.wallet, self.transaction, self.notification


@dataclass(frozen=True)
class Response:
    """A response of the gateway."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class ApiClient:
    """A running gateway and a client of it."""

    fakes: FakeServices
    url: str
    session: aiohttp.ClientSession
    runtime: Runtime
    serving: asyncio.Task[None]

    async def call(self, method: str, path: str, *, token: str | None = None, **options: Any) -> Response:
        """One request."""
        headers = CIMultiDict(options.pop("headers", None) or {})
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        async with self.session.request(method, self.url + path, headers=headers, **options) as response:
            # An event stream does not end.
            is_stream = response.content_type == "text/event-stream"
            return Response(response.status, response.headers, b"" if is_stream else await response.read())

    async def send(self, token: str, key: str | None = None, **changes: Any) -> Response:
        """One transfer of 10.50 USD, except for `changes`."""
        headers = changes.pop("headers", {}) | ({"Idempotency-Key": key} if key is not None else {})
        document = {"currency": "USD", "amount": 1050, "to": {"email": "bob@example.com"}} | changes
        return await self.call("POST", "/api/v1/transfers", token=token, json=document, headers=headers)


Open = Callable[..., Any]


async def eventually(holds: Callable[[], Awaitable[bool]], *, seconds: float = 30.0) -> None:
    """Wait until `holds` is true, at most `seconds`."""
    deadline = time.monotonic() + seconds
    while not await holds():
        assert time.monotonic() < deadline, f"did not come true within {seconds} s"
        await asyncio.sleep(0.01)


@pytest.fixture
async def redis_client(redis: Redis) -> AsyncIterator[Client]:
    """An empty Redis."""
    client = Client.from_url(redis.url, socket_timeout=60)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gateways opened from here on give Redis all the time it needs, for tests that need it on a busy machine."""
    monkeypatch.setattr(cache_module, "RESPONSE_SECONDS", 10.0)


@pytest.fixture
async def fakes() -> AsyncIterator[FakeServices]:
    services = FakeServices(
        Auth("auth", PUBLIC_KEYS),
        Wallet("wallet", PUBLIC_KEYS),
        Transaction("transaction", PUBLIC_KEYS),
        Notification("notification", PUBLIC_KEYS),
    )
    for service in services.all():
        await service.start()
    yield services
    for service in services.all():
        service.silent, service.silent_at = False, None
        await service.stop()


@pytest.fixture
async def open_client(fakes: FakeServices, redis: Redis) -> Open:
    """Opens gateways, with `async with`; keywords are settings."""

    @asynccontextmanager
    async def opened(*, wait: bool = True, **changes: Any) -> AsyncIterator[ApiClient]:
        port = find_free()
        variables: dict[str, Any] = {
            "host": "127.0.0.1",
            "gateway_port": port,
            "auth_url": fakes.auth.url,
            "wallet_url": fakes.wallet.url,
            "transaction_url": fakes.transaction.url,
            "notification_url": fakes.notification.url,
            "redis_url": redis.url,
            "rate_limits": "off",
            "service_key": base64.b64encode(SEED).decode(),
            "service_public_keys": {
                name: base64.b64encode(key.public_bytes_raw()).decode() for name, key in PUBLIC_KEYS.items()
            },
        }
        settings = GatewaySettings(**variables | changes)
        runtime = Runtime(service="gateway", role="api", instance="gateway")
        serving = asyncio.create_task(serve_api(settings, runtime))
        async with aiohttp.ClientSession() as session:
            api = ApiClient(fakes, f"http://127.0.0.1:{port}", session, runtime, serving)
            try:
                await eventually(lambda: _answers(api, serving, "/readyz" if wait else "/livez"))
                yield api
            finally:
                runtime.stopping.set()
                await serving

    return opened


@pytest.fixture
async def api(open_client: Open, redis_client: Client) -> AsyncIterator[ApiClient]:
    """A gateway that is ready, with an empty Redis and without rate limits."""
    async with open_client() as opened:
        yield opened


@pytest.fixture
def user_id() -> str:
    return str(new_id())


@pytest.fixture
def token(fakes: FakeServices, user_id: str) -> str:
    """An access token of `user_id`."""
    return fakes.auth.token(sub=user_id)


@pytest.fixture
def operator_token(fakes: FakeServices) -> str:
    return fakes.auth.token(role="operator")


async def _answers(api: ApiClient, serving: asyncio.Task[None], path: str) -> bool:
    if serving.done():
        await serving
        pytest.fail("the gateway ended at its start")
    try:
        return (await api.call("GET", path)).status == 200
    except aiohttp.ClientError:
        return False
