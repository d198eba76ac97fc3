"""The origin check: scheme, host, port, and what the browser reports."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from services.gateway.api import OPERATIONS
from services.gateway.errors import OriginNotAllowed
from services.gateway.security.cors import ORIGINS, Origins

LISTED = "https://app.example.com"
OWN = "https://pay.example.com"

Client = TestClient[web.Request, web.Application]


async def strict(request: web.Request) -> web.Response:
    try:
        request.app[ORIGINS].check(request)
    except OriginNotAllowed:
        return web.Response(status=403)
    return web.Response(headers={"Vary": "Accept"})


async def lenient(request: web.Request) -> web.Response:
    try:
        request.app[ORIGINS].check_if_sent(request)
    except OriginNotAllowed:
        return web.Response(status=403)
    return web.Response()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    app = web.Application()
    app.router.add_post("/strict", strict)
    app.router.add_post("/lenient", lenient)
    Origins(frozenset({LISTED}), OWN).install(app, OPERATIONS)
    async with TestClient(TestServer(app)) as made:
        yield made


def own_address(client: Client) -> str:
    return str(client.make_url("")).rstrip("/")


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (LISTED, 200),
        (OWN, 200),
        ("{own}", 200),
        ("http://app.example.com", 403),
        ("https://app.example.com:8443", 403),
        ("http://pay.example.com", 403),
        ("https://sub.app.example.com", 403),
        ("https-{own}", 403),
        ("{own}0", 403),
        ("null", 403),
        ("", 403),
    ],
)
async def test_an_origin_is_scheme_host_and_port(client: Client, origin: str, status: int) -> None:
    """Another scheme, port or host is another origin, also for the gateway's own address."""
    own = own_address(client)
    named = own.replace("http://", "https://") if origin == "https-{own}" else origin.format(own=own)
    for path in ("/strict", "/lenient"):
        async with client.post(path, headers={"Origin": named}) as response:
            assert status == response.status


@pytest.mark.parametrize(
    ("values", "status"),
    [
        (["same-origin"], 200),
        (["same-site"], 403),
        (["cross-site"], 403),
        (["none"], 403),
        (["same-origin", "same-origin"], 403),
        ([], 403),
    ],
)
async def test_without_an_origin_the_browser_must_mark_it_same_origin(
    client: Client, values: list[str], status: int
) -> None:
    """A request without `Origin` passes only if the browser marks it as same-origin."""
    headers = [("Sec-Fetch-Site", each) for each in values]
    async with client.post("/strict", headers=headers) as response:
        assert status == response.status
    async with client.post("/lenient", headers=headers) as response:
        assert 200 == response.status


async def test_two_origins_are_refused(client: Client) -> None:
    """A request with two origins is refused, even if both are listed."""
    for path in ("/strict", "/lenient"):
        async with client.post(path, headers=[("Origin", LISTED), ("Origin", LISTED)]) as response:
            assert 403 == response.status


async def test_a_cache_keeps_one_response_for_each_origin(client: Client) -> None:
    """`Origin` is added to the existing `Vary` header."""
    async with client.post("/strict", headers={"Origin": OWN}) as response:
        assert {"Accept", "Origin"} == set(response.headers["Vary"].split(", "))
        assert "Access-Control-Allow-Origin" not in response.headers


async def test_a_preflight_is_cached_for_ten_minutes(client: Client) -> None:
    """With a longer time, browsers would continue after an origin was removed from the list."""
    headers = {"Origin": LISTED, "Access-Control-Request-Method": "POST"}
    async with client.options("/api/v1/transfers", headers=headers) as response:
        assert (204, "600") == (response.status, response.headers["Access-Control-Max-Age"])
