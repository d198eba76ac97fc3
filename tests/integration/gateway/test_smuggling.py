"""Request smuggling: requests that two servers could parse differently are refused."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from services.chassis.watchdog import HEADER_SECONDS
from tests.integration.gateway.conftest import ApiClient

BACKGROUND = ("/internal/jwks", "/internal/revocations")
"""Calls that the gateway makes on its own behalf."""

BODY = json.dumps({"currency": "USD", "amount": 1050, "to": {"email": "bob@example.com"}}).encode()
LENGTH = str(len(BODY)).encode()
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
CHUNKS = b"Transfer-Encoding: chunked\r\n"
CLOSED_SECONDS = HEADER_SECONDS - 1
"""An open connection is closed later by the watchdog: that does not count."""


@dataclass(frozen=True)
class Bytes:
    """One request as transferred. `lines` are headers beside the valid ones."""

    lines: bytes = b""
    body: bytes = BODY
    start: bytes = b"POST /api/v1/transfers HTTP/1.1\r\n"
    host: bytes = b"Host: payflow.example\r\n"

    def of(self, token: str) -> bytes:
        headers = f"Authorization: Bearer {token}\r\nIdempotency-Key: {uuid4()}\r\nContent-Type: application/json\r\n"
        return self.start + self.host + headers.encode() + self.lines + b"\r\n" + self.body


def length(value: bytes = LENGTH) -> bytes:
    return b"Content-Length: %s\r\n" % value


REFUSED = {
    # Where the body ends
    "length and chunks": Bytes(length() + CHUNKS, CHUNKED),
    "chunks and length": Bytes(CHUNKS + length(b"4"), CHUNKED),
    "two lengths": Bytes(length() + length(b"1")),
    "two equal lengths": Bytes(length() * 2),
    "list of lengths": Bytes(length(LENGTH + b", " + LENGTH)),
    "length with a plus": Bytes(length(b"+" + LENGTH)),
    "negative length": Bytes(length(b"-1")),
    "length in hex": Bytes(length(b"0x10")),
    "length with underscore": Bytes(length(b"1_0")),
    "length with a space": Bytes(length(b"1 0")),
    "length of another script": Bytes(length("٥".encode())),
    "empty length": Bytes(length(b"")),
    "length without end": Bytes(length(b"9" * 40)),
    "chunks by another name": Bytes(b"Transfer-Encoding: xchunked\r\n", CHUNKED),
    "chunks twice": Bytes(CHUNKS * 2, CHUNKED),
    "chunks of chunks": Bytes(b"Transfer-Encoding: chunked, chunked\r\n", CHUNKED),
    "chunks, not last": Bytes(b"Transfer-Encoding: chunked, identity\r\n", CHUNKED),
    "chunks and identity": Bytes(CHUNKS + b"Transfer-Encoding: identity\r\n", CHUNKED),
    "gzip and chunks": Bytes(b"Transfer-Encoding: gzip, chunked\r\n", CHUNKED),
    "identity": Bytes(b"Transfer-Encoding: identity\r\n" + length()),
    "chunks in quotes": Bytes(b'Transfer-Encoding: "chunked"\r\n', CHUNKED),
    "chunks after a vertical tab": Bytes(b"Transfer-Encoding: \x0bchunked\r\n", CHUNKED),
    "chunks before NUL": Bytes(b"Transfer-Encoding: chunked\x00\r\n", CHUNKED),
    "chunks folded": Bytes(b"Transfer-Encoding:\r\n chunked\r\n", CHUNKED),
    "chunks in HTTP/1.0": Bytes(CHUNKS, CHUNKED, start=b"POST /api/v1/transfers HTTP/1.0\r\n"),
    # The format of headers
    "space before the colon": Bytes(b"Transfer-Encoding : chunked\r\n", CHUNKED),
    "space before a name": Bytes(b" Transfer-Encoding: chunked\r\n" + length()),
    "folded header": Bytes(b"X-One: 1\r\n 2\r\n" + length()),
    "folded with a tab": Bytes(b"X-One: 1\r\n\t2\r\n" + length()),
    "bare LF": Bytes(b"X-One: 1\nX-Two: 2\r\n" + length()),
    "bare LF at the end of headers": Bytes(length()[:-2] + b"\n\n" + BODY[:-1], BODY),
    "LF after the first line": Bytes(length(), start=b"POST /api/v1/transfers HTTP/1.1\n"),
    "bare CR": Bytes(b"X-One: 1\rX-Two: 2\r\n" + length()),
    "NUL in a value": Bytes(b"X-One: 1\x002\r\n" + length()),
    "NUL in a name": Bytes(b"X-\x00One: 1\r\n" + length()),
    "control character in a value": Bytes(b"X-One: 1\x012\r\n" + length()),
    "no name": Bytes(b": 1\r\n" + length()),
    "no colon": Bytes(b"X-One\r\n" + length()),
    "space in a name": Bytes(b"X One: 1\r\n" + length()),
    "bytes above ASCII in a name": Bytes(b"X-\xff: 1\r\n" + length()),
    "line of 9 kB": Bytes(b"X-One: " + b"1" * 9000 + b"\r\n" + length()),
    "name of 9 kB": Bytes(b"X-" + b"1" * 9000 + b": 1\r\n" + length()),
    "a thousand headers": Bytes(b"X-One: 1\r\n" * 1000 + length()),
    "ten thousand headers": Bytes(b"X-One: 1\r\n" * 10000 + length()),
    "two types": Bytes(length() + b"Content-Type: text/plain\r\n"),
    # The host and the path
    "no host": Bytes(length(), host=b""),
    "two hosts": Bytes(b"Host: other.example\r\n" + length()),
    "whole address": Bytes(length(), start=b"POST http://other.example/api/v1/transfers HTTP/1.1\r\n"),
    "whole address of ours": Bytes(length(), start=b"POST http://payflow.example/api/v1/transfers HTTP/1.1\r\n"),
    "malformed address": Bytes(length(), start=b"POST api/v1/transfers HTTP/1.1\r\n"),
    "tunnel": Bytes(length(), start=b"CONNECT payflow.example:443 HTTP/1.1\r\n"),
    "address of 9 kB": Bytes(length(), start=b"POST /api/v1/transfers?" + b"x" * 9000 + b" HTTP/1.1\r\n"),
    "space in the address": Bytes(length(), start=b"POST /api/v1/transfers x HTTP/1.1\r\n"),
    "fragment": Bytes(length(), start=b"POST /api/v1/transfers#x HTTP/1.1\r\n"),
    # The HTTP version
    "HTTP/0.9": Bytes(length(), start=b"POST /api/v1/transfers\r\n"),
    "HTTP/2.0": Bytes(length(), start=b"POST /api/v1/transfers HTTP/2.0\r\n"),
    "HTTP/1.9": Bytes(length(), start=b"POST /api/v1/transfers HTTP/1.9\r\n"),
    "HTTPX/1.1": Bytes(length(), start=b"POST /api/v1/transfers HTTPX/1.1\r\n"),
    "preface of HTTP/2": Bytes(length(), start=b"PRI * HTTP/2.0\r\n"),
    "method in lower case": Bytes(length(), start=b"post /api/v1/transfers HTTP/1.1\r\n"),
    "unknown method": Bytes(length(), start=b"POSTT /api/v1/transfers HTTP/1.1\r\n"),
    "tabs": Bytes(length(), start=b"POST\t/api/v1/transfers\tHTTP/1.1\r\n"),
    "TLS": Bytes(start=b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n"),
    # The chunks
    "chunk size in words": Bytes(CHUNKS, b"zz\r\n" + CHUNKED),
    "chunk size 0x": Bytes(CHUNKS, b"0x" + CHUNKED),
    "chunk size with a plus": Bytes(CHUNKS, b"+" + CHUNKED),
    "negative chunk size": Bytes(CHUNKS, b"-" + CHUNKED),
    "chunk size without end": Bytes(CHUNKS, b"f" * 20 + b"\r\n" + CHUNKED),
    "chunk size and space": Bytes(CHUNKS, CHUNKED.replace(b"\r\n", b" \r\n", 1)),
    "chunk extension with a bare LF": Bytes(CHUNKS, CHUNKED.replace(b"\r\n", b";a\n\r\n", 1)),
    "chunk extension with a bare CR": Bytes(CHUNKS, CHUNKED.replace(b"\r\n", b";a\rb\r\n", 1)),
    "chunks ended by LF": Bytes(CHUNKS, CHUNKED.replace(b"\r\n", b"\n")),
    "chunk longer than declared": Bytes(CHUNKS, CHUNKED.replace(b"}\r\n", b"}}\r\n")),
    "trailers of ours": Bytes(CHUNKS, CHUNKED[:-2] + b"Content-Length: 5\r\nIdempotency-Key: k-2\r\n\r\n"),
    "trailers of 20 kB": Bytes(CHUNKS, CHUNKED[:-2] + b"X-One: " + b"1" * 20_000 + b"\r\n\r\n"),
    "trailers without end": Bytes(CHUNKS, CHUNKED[:-2] + b"X-One: 1\r\n" * 10_000 + b"\r\n"),
}
"""Requests that another server might end elsewhere. They are refused, and the connection is closed."""

CLEAR = {
    "two spaces": Bytes(length(), start=b"POST  /api/v1/transfers HTTP/1.1\r\n"),
    "chunk extension": Bytes(CHUNKS, CHUNKED.replace(b"\r\n", b";a=b\r\n", 1)),
    "chunk extension of 20 kB": Bytes(CHUNKS, CHUNKED.replace(b"\r\n", b";a=" + b"b" * 20_000 + b"\r\n", 1)),
    "trailers": Bytes(CHUNKS, CHUNKED[:-2] + b"X-One: 1\r\n\r\n"),
    "upgrade to a web socket": Bytes(
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n" + length()
    ),
}
"""Valid requests with exactly one end: what follows is the next request."""

ELSEWHERE = {
    "dots": Bytes(length(), start=b"POST /api/v1/x/../transfers HTTP/1.1\r\n"),
    "encoded dots": Bytes(length(), start=b"POST /api/v1/x/%2e%2e/transfers HTTP/1.1\r\n"),
    "double slash": Bytes(length(), start=b"POST //api/v1/transfers HTTP/1.1\r\n"),
    "encoded slash": Bytes(length(), start=b"POST /api%2fv1/transfers HTTP/1.1\r\n"),
}
"""Paths that do not exist as written, however another server might normalize them."""

UPGRADE = Bytes(
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n" + length()
)
"""Headers of clients that offer an upgrade with their first request."""


@asynccontextmanager
async def line(api: ApiClient) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    where = urlsplit(api.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def next_one(token: str) -> bytes:
    return f"GET /api/v1/wallets HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


async def read_status(reader: asyncio.StreamReader) -> int:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), CLOSED_SECONDS)
    sizes = re.findall(rb"(?i)content-length: (\d+)", head)
    await reader.readexactly(int(sizes[0]))
    return int(head.split()[1])


def upstream_calls(api: ApiClient) -> list[str]:
    """The upstream calls on behalf of clients since the last check."""
    calls = [call for service in api.fakes.all() for call in service.calls if call.path not in BACKGROUND]
    for service in api.fakes.all():
        service.calls.clear()
    return [f"{call.method} {call.path}" for call in calls]


async def test_ambiguous_requests_are_refused(api: ApiClient, token: str) -> None:
    """Guarantee 51: one 4xx, then the connection is closed; neither the request nor what follows reaches an upstream service."""
    for name, request in REFUSED.items():
        async with line(api) as (reader, writer):
            writer.write(request.of(token) + next_one(token))
            try:
                received = await asyncio.wait_for(reader.read(), CLOSED_SECONDS)
            except TimeoutError:
                pytest.fail(f"{name}: the connection stays open")
        head, _, body = received.partition(b"\r\n\r\n")
        assert (b"400", 1) == (head.split()[1], received.count(b"HTTP/1.")), f"{name}: {received!r}"
        assert f"X-Request-Id: {json.loads(body)['request_id']}".encode() in head, name
        assert [] == upstream_calls(api), name


@pytest.mark.parametrize("version", ["HTTP/2.0", "HTTP/1.9", "HTTP/3.0", ""])
async def test_other_http_versions_are_refused(api: ApiClient, token: str, version: str) -> None:
    """Guarantee 51: another HTTP version is refused, and the connection is closed."""
    async with line(api) as (reader, writer):
        writer.write(next_one(token).replace(b" HTTP/1.1", f" {version}".rstrip().encode()))
        received = await asyncio.wait_for(reader.read(), CLOSED_SECONDS)

    assert b"400" == received.split()[1], received
    assert [] == upstream_calls(api)


async def test_unambiguous_requests_are_accepted(api: ApiClient, token: str) -> None:
    """A valid request is carried out once, and what follows on the connection is the next request."""
    for name, request in CLEAR.items():
        async with line(api) as (reader, writer):
            writer.write(request.of(token) + next_one(token))
            assert (202, 200) == (await read_status(reader), await read_status(reader)), name
        assert ["POST /internal/transfers", "GET /internal/wallets"] == sorted(upstream_calls(api), reverse=True), name


async def test_paths_are_not_normalized(api: ApiClient, token: str) -> None:
    """Dots and slashes in a path are neither resolved nor decoded."""
    for name, request in ELSEWHERE.items():
        async with line(api) as (reader, writer):
            writer.write(request.of(token))
            assert 404 == await read_status(reader), name
        assert [] == upstream_calls(api), name


async def test_an_upgrade_is_ignored(api: ApiClient, token: str) -> None:
    """A client that offers HTTP/2 gets HTTP/1.1 responses, also for its next request."""
    async with line(api) as (reader, writer):
        for _ in range(2):
            writer.write(UPGRADE.of(token))
            assert 202 == await read_status(reader)
        writer.write(next_one(token))
        assert 200 == await read_status(reader)


async def test_responses_keep_their_order(api: ApiClient, token: str) -> None:
    """Pipelined requests get their responses in order."""
    async with line(api) as (reader, writer):
        writer.write((next_one(token) + b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n") * 3)
        assert [200, 404] * 3 == [await read_status(reader) for _ in range(6)]
