"""Headers of every response, and headers that pages of other origins may send and read."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from services.gateway import responses
from services.gateway.api import OPERATIONS
from services.gateway.security import cors

ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000",
}


@pytest.mark.parametrize("status", [200, 204, 304, 401, 404, 429, 500, 503])
async def test_every_response_has_security_headers(status: int) -> None:
    """Every response has the security headers, including refusals; the server software is not named."""

    async def respond(_request: web.Request) -> web.Response:
        return web.Response(status=status)

    app = web.Application()
    app.router.add_get("/", respond)
    app.on_response_prepare.append(responses.on_prepare)
    async with TestClient(TestServer(app)) as client, client.get("/") as response:
        assert ALWAYS == {name: response.headers.get(name) for name in ALWAYS}
        assert "Server" not in response.headers
        assert ("1" if status == 503 else None) == response.headers.get("Retry-After")
        assert ("Bearer" if status == 401 else None) == response.headers.get("WWW-Authenticate")


async def test_headers_of_the_response_are_kept() -> None:
    """`Retry-After`, the policy of a page and the cache time of a public document are not replaced."""
    own = {"Retry-After": "7", "Content-Security-Policy": "default-src 'self'", "Cache-Control": "public, max-age=60"}

    async def respond(_request: web.Request) -> web.Response:
        return web.Response(status=503, headers=own)

    app = web.Application()
    app.router.add_get("/", respond)
    app.on_response_prepare.append(responses.on_prepare)
    async with TestClient(TestServer(app)) as client, client.get("/") as response:
        assert own == {name: response.headers[name] for name in own}


def test_pages_may_read_what_is_documented() -> None:
    """Every header of a documented response is exposed to listed origins, except the cookie, which no script may read."""
    documented = {name for row in OPERATIONS for response in row.responses for name in response.headers} - {
        "Set-Cookie"
    }
    exposed = set(cors.EXPOSED_HEADERS.split(", "))

    assert documented | {"Retry-After", "RateLimit", "RateLimit-Policy", "X-Request-Id"} == exposed


def test_pages_may_send_what_is_documented() -> None:
    """Every header that an operation reads may be sent by a page of a listed origin."""
    documented = {name for row in OPERATIONS for name in row.headers}

    assert documented | {"Authorization", "Content-Type", "X-Request-Id", "traceparent"} == set(
        cors.REQUEST_HEADERS.split(", ")
    )
