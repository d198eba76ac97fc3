"""The real auth service with two real gateways, and a Redis that a test may break."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from deploy.local.engines import Redis
from deploy.local.ports import find_free
from services.auth.wakeup import Wakeup
from services.chassis.database import Pool, close_pool
from services.chassis.roles import Runtime
from services.gateway.app import serve_api
from services.gateway.settings import GatewaySettings
from tests.harness.api import PASSWORD, Response
from tests.harness.api import ApiClient as Gateway
from tests.harness.databases import Templates, TestDatabase
from tests.integration.auth.service import PUBLIC_KEYS, SEEDS, AuthService, running

UNREACHABLE = "http://127.0.0.1:1"


async def eventually(holds: Callable[[], Awaitable[bool]], *, seconds: float = 5.0) -> float:
    """Wait until `holds` is true, at most `seconds`; how long it took, in seconds."""
    began = time.monotonic()
    while not await holds():
        assert time.monotonic() - began < seconds, f"did not come true within {seconds} s"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


@dataclass
class SignedIn:
    """A user with one session, at any gateway."""

    stack: Stack
    email: str
    body: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.body["user"]["id"])

    async def call(self, method: str, path: str, body: Any = None, *, at: int = 0, **options: Any) -> Response:
        headers = {"Authorization": f"Bearer {self.body['access_token']}"}
        sent = options if body is None else options | {"json": body}
        return await self.stack.gateways[at].send(method, path, headers=headers, **sent)

    async def statuses(self) -> list[int]:
        """The status of each gateway for the access token."""
        return [(await self.call("GET", "/auth/sessions", at=at)).status for at in range(len(self.stack.gateways))]

    async def are(self, status: int) -> bool:
        """Whether every gateway returns this status for the access token."""
        return {status} == set(await self.statuses())

    async def refresh(self) -> Response:
        return await self.stack.gateways[1].send(
            "POST", "/auth/refresh", json={"refresh_token": self.body["refresh_token"]}
        )


@dataclass
class Stack:
    """All services that a login involves."""

    auth: AuthService
    pool: Pool
    database: TestDatabase
    redis: Redis
    gateways: list[Gateway]

    async def register(self, email: str) -> SignedIn:
        body = {"email": email, "password": PASSWORD, "name": "Alice Test"}
        return SignedIn(self, email, (await self.gateways[0].send("POST", "/auth/register", json=body)).body)

    async def log_in(self, email: str, password: str = PASSWORD, **more: Any) -> Response:
        return await self.gateways[0].send("POST", "/auth/login", json={"email": email, "password": password} | more)

    async def again(self, signed_in: SignedIn, **more: Any) -> SignedIn:
        """Another session of the same user."""
        response = await self.log_in(signed_in.email, **more)
        assert response.status == 200, response
        return SignedIn(self, signed_in.email, response.body)

    async def operator(self, email: str) -> SignedIn:
        signed_in = await self.register(email)
        await self.pool.execute("UPDATE users SET role = 'operator' WHERE email = $1", email)
        return await self.again(signed_in)

    def freeze_redis(self) -> None:
        assert self.redis.pid is not None
        os.kill(self.redis.pid, signal.SIGSTOP)

    def unfreeze_redis(self) -> None:
        if self.redis.poll() is None and self.redis.pid is not None:
            os.kill(self.redis.pid, signal.SIGCONT)


@asynccontextmanager
async def _gateway(auth_url: str, redis_url: str, session: aiohttp.ClientSession) -> AsyncIterator[Gateway]:
    port = find_free()
    settings = GatewaySettings(
        host="127.0.0.1",
        gateway_port=port,
        auth_url=auth_url,
        wallet_url=UNREACHABLE,
        transaction_url=UNREACHABLE,
        notification_url=UNREACHABLE,
        redis_url=redis_url,
        service_key=SEEDS["gateway"],
        service_public_keys=PUBLIC_KEYS,
    )
    runtime = Runtime(service="gateway", role="api", instance="gateway")
    serving = asyncio.create_task(serve_api(settings, runtime))
    gateway = Gateway(session, f"http://127.0.0.1:{port}")

    async def is_ready() -> bool:
        if serving.done():
            await serving
        try:
            async with session.get(f"{gateway.base}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    try:
        await eventually(is_ready, seconds=30)
        yield gateway
    finally:
        runtime.stopping.set()
        await serving


@pytest.fixture(scope="module")
async def own_redis(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Redis]:
    engine = Redis(tmp_path_factory.mktemp("redis"))
    await engine.start()
    yield engine
    engine.kill()


@pytest.fixture(scope="module")
async def shared_stack(own_redis: Redis, templates: Templates) -> AsyncIterator[Stack]:
    async with AsyncExitStack() as stack:
        database = await templates.fresh("auth")
        stack.push_async_callback(templates.drop, database)
        pool = await database.pool()
        stack.push_async_callback(close_pool, pool)
        auth = await stack.enter_async_context(running(pool, wakeup=Wakeup(own_redis.url)))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        gateways = [await stack.enter_async_context(_gateway(auth.url, own_redis.url, session)) for _ in range(2)]
        yield Stack(auth, pool, database, own_redis, gateways)


@pytest.fixture
async def stack(shared_stack: Stack) -> AsyncIterator[Stack]:
    """The stack; its Redis is restored afterwards."""
    yield shared_stack
    shared_stack.unfreeze_redis()
    if shared_stack.redis.poll() is not None:
        await shared_stack.redis.start()
