"""Compressed responses."""

from __future__ import annotations

import gzip
from typing import Any

import aiohttp
import pytest

from services.gateway import compression
from tests.integration.gateway.conftest import ApiClient, Response

CURRENCIES = "/api/v1/currencies"
LARGE = ("/api/v1/docs", "/api/v1/notifications?limit=200")


async def raw(api: ApiClient, method: str, path: str, encoding: str | None, **headers: str) -> Response:
    """The response as transferred."""
    named = headers | ({"Accept-Encoding": encoding} if encoding is not None else {})
    async with (
        aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=["Accept-Encoding"]) as session,
        session.request(method, api.url + path, headers=named) as response,
    ):
        return Response(response.status, response.headers, await response.read())


@pytest.fixture
def bearer(api: ApiClient, token: str) -> dict[str, str]:
    """A user with many notifications."""
    items = [{"id": f"{number:036}", "title": "Money received"} for number in range(200)]
    api.fakes.notification.responses["GET /internal/notifications"] = {"items": items, "next_cursor": None}
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("path", LARGE)
async def test_large_responses_are_compressed(api: ApiClient, bearer: dict[str, str], path: str) -> None:
    """With gzip accepted the response is smaller and the same; HEAD has the same headers; caches keep both apart."""
    plain = await raw(api, "GET", path, None, **bearer)
    small = await raw(api, "GET", path, "br;q=1.0, gzip;q=0.8", **bearer)
    head = await raw(api, "HEAD", path, "gzip", **bearer)

    assert 200 == plain.status, plain.body
    assert ("gzip", len(small.body)) == (small.headers["Content-Encoding"], int(small.headers["Content-Length"]))
    assert len(small.body) < len(plain.body) / 2
    assert plain.body == gzip.decompress(small.body)
    assert "Content-Encoding" not in plain.headers
    assert {"Accept-Encoding"} == {response.headers["Vary"] for response in (plain, small, head)}
    assert (b"", small.headers["Content-Length"]) == (head.body, head.headers["Content-Length"])


async def test_what_is_not_compressed(api: ApiClient, bearer: dict[str, str]) -> None:
    """Small responses, errors, and responses to POST, which may return a token, are not compressed."""
    long_token: dict[str, Any] = {"access_token": "x" * 5000, "refresh_token": "y"}
    api.fakes.auth.responses["POST /internal/refresh"] = long_token
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.post(f"{api.url}/api/v1/auth/refresh", json={"refresh_token": "r"}) as refreshed,
    ):
        await refreshed.read()
    small = await raw(api, "GET", "/api/v1/wallets", "gzip", **bearer)
    missing = await raw(api, "GET", f"/api/v1/{'x' * 4000}", "gzip", **bearer)

    assert [200, 200, 404] == [refreshed.status, small.status, missing.status]
    assert not [response for response in (refreshed, small, missing) if "Content-Encoding" in response.headers]


async def test_each_form_has_its_own_tag(api: ApiClient) -> None:
    """A public document has a strong tag for each form; both are recognized, and 304 has the tag of the matching form."""
    plain = await raw(api, "GET", CURRENCIES, None)
    small = await raw(api, "GET", CURRENCIES, "gzip")
    tags = plain.headers["ETag"], small.headers["ETag"]
    held = [
        await raw(api, "GET", CURRENCIES, encoding, **{"If-None-Match": tag})
        for encoding in (None, "gzip")
        for tag in tags
    ]
    other = await raw(api, "GET", CURRENCIES, "gzip", **{"If-None-Match": '"another"'})

    assert plain.body == gzip.decompress(small.body)
    assert tags[0] != tags[1]
    assert not any(tag.startswith("W/") for tag in tags)
    assert [(304, tag, b"") for tag in tags * 2] == [(each.status, each.headers["ETag"], each.body) for each in held]
    assert {"Accept-Encoding"} == {each.headers["Vary"] for each in (plain, small, *held)}
    assert (200, tags[1]) == (other.status, other.headers["ETag"])


@pytest.mark.parametrize(
    ("header", "takes"),
    [
        ("gzip", True), ("GZIP", True), ("*", True), ("deflate, gzip;q=0.5", True), ("gzip; q=1.0", True),
        ("", False), ("identity", False), ("gzip;q=0", False), ("gzip; q=0.0", False), ("*;q=0", False), ("br", False),
        ("gzip;q=0, *", False), ("gzip;q=x", False), ("x-gzipped", False),
    ],
)  # fmt: skip
def test_accepted_encodings(header: str, takes: bool) -> None:
    """`gzip` or `*`, unless its weight is zero."""
    assert takes is compression._accepts_gzip(header)
