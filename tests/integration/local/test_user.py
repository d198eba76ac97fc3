"""The user of the demo data sends a request again while a service does not serve it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from deploy.local import user
from deploy.local.errors import LocalError
from deploy.local.user import User


class Gateway:
    """Refuses the first requests with 503, then serves."""

    def __init__(self) -> None:
        self.refusals = 0
        self.requests = 0

    async def serve(self, _request: web.Request) -> web.Response:
        self.requests += 1
        if self.requests <= self.refusals:
            return web.json_response({"code": "busy"}, status=503, headers={"Retry-After": "0"})
        return web.json_response({"access_token": "token"})


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
async def alice(gateway: Gateway) -> AsyncIterator[User]:
    application = web.Application()
    application.router.add_post("/api/v1/auth/login", gateway.serve)
    async with TestServer(application) as server, aiohttp.ClientSession() as session:
        yield User(session, str(server.make_url("")).rstrip("/"), "alice@example.com", "a password")


async def test_a_busy_service_is_tried_again(gateway: Gateway, alice: User) -> None:
    """A login that is refused twice with 503 succeeds the third time."""
    gateway.refusals = 2
    await alice.log_in()
    assert ("token", 3) == (alice.token, gateway.requests)


async def test_retries_end(gateway: Gateway, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that stays unavailable ends the command with its status and code."""
    gateway.refusals = 2**31
    monkeypatch.setattr(user, "RETRY_SECONDS_MAX", -1.0)
    with pytest.raises(LocalError, match="503 busy"):
        await alice.log_in()
