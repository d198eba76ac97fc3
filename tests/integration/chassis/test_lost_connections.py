"""Calls between services: what is known when the connection is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from services.chassis.client import Upstream, UpstreamTimeout, UpstreamUnavailable
from tests.harness.services import identities


@asynccontextmanager
async def hanging_up(*, times: int) -> AsyncIterator[str]:
    """A server that reads so many requests, sends no response and closes each connection; then it stops."""
    taken = 0

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        await reader.read(1)
        taken += 1
        if taken == times:
            server.close()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def caller(url: str) -> AsyncIterator[Upstream]:
    upstream = Upstream("gateway", "transaction", url, identities()["gateway"])
    yield upstream
    await upstream.close()


@pytest.mark.parametrize("times", [1, 2])
async def test_connection_lost_after_sending(times: int) -> None:
    """A request that was sent and got no response is unknown, even if the second attempt cannot connect."""
    async with hanging_up(times=times) as url, caller(url) as upstream:
        with pytest.raises(UpstreamTimeout):
            await upstream.call("POST", "/internal/transfers", body={}, seconds=30)


async def test_connection_lost_while_reading() -> None:
    """A read-only request has changed nothing: the service is unavailable."""
    async with hanging_up(times=1) as url, caller(url) as upstream:
        with pytest.raises(UpstreamUnavailable):
            await upstream.call("GET", "/internal/transfers", seconds=30)


async def test_connection_refused() -> None:
    """A request that could not be sent is not unknown: nothing was done."""
    async with hanging_up(times=1) as url:
        pass
    async with caller(url) as upstream:
        with pytest.raises(UpstreamUnavailable):
            await upstream.call("POST", "/internal/transfers", body={}, seconds=30)
