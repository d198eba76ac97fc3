"""How often one service sends a request to another that closes its connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.chassis.client import Upstream, UpstreamTimeout, UpstreamUnavailable
from services.chassis.service_tokens import Identity
from services.contracts.refusal import OutcomeUnknown, Refusal

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


class Closing:
    """A server that reads the headers of the first `times` requests and closes the connection; then it responds."""

    def __init__(self) -> None:
        self.requests = 0
        self.times = 10**6
        self.is_silent = False
        self.status = 200
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            if self.is_silent:
                await reader.read()
            elif self.requests > self.times:
                body = b'{"ok":true}' if self.status == 200 else b'{"status":%d}' % self.status
                head = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (self.status, len(body))
                writer.write(head + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def closing() -> AsyncIterator[Closing]:
    made = Closing()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield made
    server.close()


@pytest.fixture
async def upstream(closing: Closing) -> AsyncIterator[Upstream]:
    made = Upstream("test", "closing", closing.url, Identity(KEY, {"test": KEY.public_key()}))
    yield made
    await made.close()


METHODS = pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])


def lost(method: str) -> type[Exception]:
    """The error of a lost connection: a read-only request has changed nothing, any other is unknown."""
    return UpstreamUnavailable if method == "GET" else UpstreamTimeout


@METHODS
async def test_a_lost_connection_is_retried_once(closing: Closing, upstream: Upstream, method: str) -> None:
    """An idempotent request is sent again when the connection is lost, but not a third time."""
    with pytest.raises(lost(method)):
        await upstream.call(method, "/internal/x", body={}, seconds=20)

    assert 2 == closing.requests


@pytest.mark.parametrize(("status", "expected"), [(503, OutcomeUnknown.status), (422, 422)])
async def test_a_fault_of_the_second_attempt_leaves_the_first_unknown(
    closing: Closing, upstream: Upstream, status: int, expected: int
) -> None:
    """The first attempt was sent and may have been carried out: a 503 of the second one does not mean that nothing was."""
    closing.times, closing.status = 1, status

    with pytest.raises(Refusal) as raised:
        await upstream.call("POST", "/internal/x", body={}, seconds=20)

    assert (expected, 2) == (raised.value.status, closing.requests)


async def test_the_second_attempt_counts(closing: Closing, upstream: Upstream) -> None:
    """If it succeeds, the caller gets its response."""
    closing.times = 1

    assert {"ok": True} == await upstream.call("POST", "/internal/x", body={}, seconds=20)
    assert 2 == closing.requests


@METHODS
async def test_non_idempotent_requests_are_sent_once(closing: Closing, upstream: Upstream, method: str) -> None:
    """A refresh token or a code can be used once: such a request is not repeated, whatever its method."""
    with pytest.raises(lost(method)):
        await upstream.call(method, "/internal/x", body={}, seconds=20, attempts=1)

    assert 1 == closing.requests


async def test_a_timeout_is_not_retried(closing: Closing, upstream: Upstream) -> None:
    """Without a response in time the outcome is unknown, and the request is not sent again."""
    closing.is_silent = True
    with pytest.raises(UpstreamTimeout):
        await upstream.call("POST", "/internal/x", body={}, seconds=0.3)

    assert 1 == closing.requests
