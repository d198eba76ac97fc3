"""The effect of each fault of the proxy on a connection."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from hashlib import sha256

import pytest

from tests.chaos.proxy import LOOPBACK, Edge

GONE = (ConnectionError, asyncio.IncompleteReadError)
SECONDS_MAX = 20
SILENCE_SECONDS = 0.2
"""How long no data must arrive to count as none."""


class Echo:
    """A server that echoes what it receives, and records it."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.port = 0
        self.open = 0
        self.served = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.served += 1
        try:
            while chunk := await reader.read(1 << 16):
                self.received += chunk
                writer.write(chunk)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            self.open -= 1
            writer.close()


class Caller:
    """A connection through an edge."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send_and_receive(self, data: bytes) -> bytes:
        """The response to `data`; raises one of GONE if the connection ends instead."""
        self.writer.write(data)
        async with asyncio.timeout(SECONDS_MAX):
            return await self.reader.readexactly(len(data))

    async def receives_nothing(self) -> bool:
        """Whether nothing arrives for a while, not even the end of the stream."""
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                await self.reader.read(1)
        except TimeoutError:
            return True
        return False

    async def is_gone(self) -> bool:
        """Whether the connection has ended in any way."""
        try:
            async with asyncio.timeout(SECONDS_MAX):
                while await self.reader.read(1 << 16):
                    pass
        except ConnectionError:
            pass
        return True

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


Connect = Callable[[], Awaitable[Caller]]


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    server = Echo()
    await server.start()
    yield server
    server.stop()
    await until(lambda: server.open == 0)


@pytest.fixture
async def edge(echo: Echo) -> AsyncIterator[Edge]:
    made = Edge("caller>echo", lambda: (LOOPBACK, echo.port))
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def connect(edge: Edge) -> AsyncIterator[Connect]:
    """Connect through the edge; connections are closed after the test."""
    callers = []

    async def connect() -> Caller:
        callers.append(Caller(*await asyncio.open_connection(LOOPBACK, edge.port)))
        return callers[-1]

    yield connect
    for caller in callers:
        await caller.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        while not condition():
            await asyncio.sleep(0.01)


async def works(connect: Connect) -> bool:
    """Whether a new connection carries a request and its response."""
    caller = await connect()
    echoed = await caller.send_and_receive(b"still there?") == b"still there?"
    await caller.close()
    return echoed


async def test_bytes_arrive_unchanged(edge: Edge, echo: Echo, connect: Connect) -> None:
    """20 MB in each direction at once, between ends of different speed: the same bytes in the same order."""
    caller = await connect()
    sent = os.urandom(20_000_000)

    async def send() -> None:
        for start in range(0, len(sent), 700_001):
            caller.writer.write(sent[start : start + 700_001])
            await caller.writer.drain()

    sending = asyncio.create_task(send())
    async with asyncio.timeout(60):
        back = await caller.reader.readexactly(len(sent))
    await sending

    assert sha256(sent).digest() == sha256(back).digest() == sha256(echo.received).digest()


async def test_a_reader_that_does_not_read_stops_the_sender(edge: Edge, echo: Echo, connect: Connect) -> None:
    """The proxy buffers a bounded amount: a callee's endless response waits for a caller that does not read."""
    caller = await connect()
    assert isinstance(caller.writer.transport, asyncio.Transport)
    caller.writer.transport.pause_reading()

    async def request_large() -> None:
        for _ in range(120):
            caller.writer.write(bytes(1_000_000))
            await caller.writer.drain()

    requesting = asyncio.create_task(request_large())
    received = -1
    async with asyncio.timeout(60):
        while not received or received != len(echo.received):
            received = len(echo.received)
            await asyncio.sleep(0.45)

    # Every socket on the path has buffers of a few megabytes.
    assert not requesting.done()
    assert 0 < received < 60_000_000
    requesting.cancel()
    caller.writer.transport.abort()


async def test_ends_are_passed_on(edge: Edge, echo: Echo, connect: Connect) -> None:
    """After a half-close by the caller the response still arrives; when both ends have closed, the link is gone."""
    caller = await connect()
    caller.writer.write(b"last words")
    caller.writer.write_eof()

    async with asyncio.timeout(SECONDS_MAX):
        assert b"last words" == await caller.reader.read()

    await until(lambda: edge.connections == 0 and echo.open == 0)


async def test_an_absent_callee_resets_the_caller(edge: Edge, echo: Echo, connect: Connect) -> None:
    """Without a listening callee the caller is reset at once, and served again once it is back."""
    echo.stop()
    caller = await connect()
    with pytest.raises(GONE):
        await caller.send_and_receive(b"hello?")

    await echo.start()

    assert await works(connect)


async def test_cut(edge: Edge, echo: Echo, connect: Connect) -> None:
    """Open connections end at both ends, new ones fail; after healing they work."""
    present = await connect()
    await present.send_and_receive(b"hello")

    edge.cut()

    assert "cut" == edge.fault
    assert await present.is_gone()
    await until(lambda: edge.connections == 0 and echo.open == 0)
    with pytest.raises(GONE):
        await (await connect()).send_and_receive(b"hello")
    assert 1 == echo.served
    edge.heal()
    assert edge.fault is None
    assert await works(connect)


async def test_cut_then_the_callee_moves(edge: Edge, echo: Echo, connect: Connect) -> None:
    """The callee moves to another address: new connections reach it there."""
    assert await works(connect)
    edge.cut()
    moved = Echo()
    await moved.start()
    assert moved.port != echo.port
    echo.stop()
    echo.port = moved.port

    edge.heal()

    assert await works(connect)
    assert b"still there?" == moved.received
    moved.stop()


async def test_reset(edge: Edge, echo: Echo, connect: Connect) -> None:
    """Every open connection is reset, not closed; the next one works without healing."""
    callers = [await connect() for _ in range(3)]
    for caller in callers:
        await caller.send_and_receive(b"hello")

    edge.reset()

    assert edge.fault is None
    for caller in callers:
        with pytest.raises(ConnectionResetError):
            await caller.send_and_receive(b"hello")
    await until(lambda: edge.connections == 0 and echo.open == 0)
    assert await works(connect)


async def test_black_hole(edge: Edge, echo: Echo, connect: Connect) -> None:
    """Nothing passes and nothing ends, for open and new connections; healing ends those that lost data."""
    present, quiet = await connect(), await connect()
    await present.send_and_receive(b"hello")
    await quiet.send_and_receive(b"hello")

    edge.black_hole()
    new = await connect()
    for caller in (present, new):
        caller.writer.write(b"dropped")

    assert await present.receives_nothing()
    assert await new.receives_nothing()
    assert 3 == edge.connections
    assert b"dropped" not in echo.received
    edge.heal()
    assert await present.is_gone()
    assert await new.is_gone()
    assert b"passed" == await quiet.send_and_receive(b"passed")
    assert await works(connect)


async def test_black_hole_hides_the_end_of_a_connection(edge: Edge, echo: Echo, connect: Connect) -> None:
    """The close by a caller is not passed on during a black hole, only after healing."""
    present = await connect()
    await present.send_and_receive(b"hello")
    edge.black_hole()

    present.writer.close()
    await asyncio.sleep(SILENCE_SECONDS)

    assert 1 == echo.open
    edge.heal()
    await until(lambda: echo.open == 0 and edge.connections == 0)


async def test_delay(edge: Edge, connect: Connect) -> None:
    """Every chunk is delayed in both directions, in the order it was sent."""
    present = await connect()
    await present.send_and_receive(b"hello")
    edge.delay(0.15)
    for caller in (present, await connect()):
        began = time.monotonic()
        for number in range(50):
            caller.writer.write(f"{number:03}".encode())
            await asyncio.sleep(0.001)

        async with asyncio.timeout(SECONDS_MAX):
            back = await caller.reader.readexactly(150)

        assert time.monotonic() - began >= 0.3
        assert b"".join(f"{number:03}".encode() for number in range(50)) == back


async def test_healing_a_delay_loses_nothing(edge: Edge, echo: Echo, connect: Connect) -> None:
    """Chunks in flight when the delay ends arrive at once, before anything sent afterwards."""
    caller = await connect()
    edge.delay(3600)
    caller.writer.write(b"first ")
    assert await caller.receives_nothing()
    assert b"" == echo.received

    edge.heal()
    caller.writer.write(b"second")

    async with asyncio.timeout(SECONDS_MAX):
        assert b"first second" == await caller.reader.readexactly(12)


async def test_half_open(edge: Edge, echo: Echo, connect: Connect) -> None:
    """The callee receives from the caller, the caller receives nothing; connections that lost a response end with the healing."""
    present = await connect()
    await present.send_and_receive(b"hello")
    edge.half_open()
    new = await connect()
    present.writer.write(b" from a present one")
    new.writer.write(b" from a new one")

    await until(lambda: b" from a present one" in echo.received and b" from a new one" in echo.received)
    assert await present.receives_nothing()
    assert await new.receives_nothing()
    edge.heal()
    assert await present.is_gone()
    assert await new.is_gone()
    assert await works(connect)


async def test_lost_response(edge: Edge, echo: Echo, connect: Connect) -> None:
    """The callee receives the request; the caller gets a reset instead of the response, on open and new connections."""
    present = await connect()
    await present.send_and_receive(b"hello")
    edge.drop_responses()
    for caller, request in ((present, b"pay once"), (await connect(), b"pay twice")):
        with pytest.raises(ConnectionResetError):
            await caller.send_and_receive(request)
        assert request in echo.received

    edge.heal()

    await until(lambda: edge.connections == 0 and echo.open == 0)
    assert await works(connect)


async def test_limit(edge: Edge, connect: Connect) -> None:
    """The rate is limited; nothing is lost, and healing restores the speed."""
    caller = await connect()
    edge.limit(200_000)
    sent = os.urandom(100_000)

    began = time.monotonic()
    assert sent == await caller.send_and_receive(sent)
    assert time.monotonic() - began >= 0.4

    edge.heal()
    assert sent * 20 == await caller.send_and_receive(sent * 20)


@pytest.mark.parametrize("broken", ["cut", "black_hole", "half_open"])
async def test_one_fault_follows_another(edge: Edge, broken: str, connect: Connect) -> None:
    """The next fault heals the previous one: a connection that lost bytes under the first passes no more under the second."""
    caller = await connect()
    await caller.send_and_receive(b"hello")
    getattr(edge, broken)()
    caller.writer.write(b"torn")
    if broken != "cut":
        assert await caller.receives_nothing()

    edge.delay(0.01)

    assert await caller.is_gone()
    assert await works(connect)


async def test_closing_ends_everything(edge: Edge, connect: Connect) -> None:
    """A closed edge leaves no connection and no listener, whatever the fault."""
    callers = [await connect()]
    await callers[0].send_and_receive(b"hello")
    edge.black_hole()
    callers.append(await connect())

    await edge.close()

    assert 0 == edge.connections
    assert all([await caller.is_gone() for caller in callers])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, edge.port), timeout=1).close()
