"""Slow clients that keep their connections open without ever completing a request.

`python -m tests.harness.slow_clients BASE SIZE TOKEN KIND...` opens SIZE connections of these kinds and reopens each one after it
was cut. When asked to stop, it waits until the open ones are cut. It reports for each kind the number of cuts, the longest
time open, and the first lines received.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.harness import load_process

DRIP_SECONDS = 1.0
WRITE_SECONDS = 0.25
HEAD = b"GET /api/v1/currencies HTTP/1.1\r\nHost: x\r\n"
LARGE = b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
REQUESTS_AT_ONCE = 4
RECEIVED_BYTES_MAX = 4096
SEGMENT_BYTES = 1460
"""As on a network: with the default of loopback the kernel would buffer megabytes of unread responses."""


def kinds(token: str) -> dict[str, tuple[bytes, bytes]]:
    """By name: the bytes sent at once, and those then sent at one byte a second."""
    transfer = _post("/api/v1/transfers", f"Authorization: Bearer {token}\r\nIdempotency-Key: slow\r\n")
    return {
        "headers": (HEAD + b"X-Slow: ", b"x" * 600),
        "body": (transfer, b'{"amount": 1, ' + b" " * 600),
        "login": (_post("/api/v1/auth/login", ""), b'{"email": ' + b" " * 600),
        "unauthenticated": (_post("/api/v1/transfers", "Authorization: Bearer x\r\n"), b" " * 600),
        "silence": (b"", b""),
        "half headers": (HEAD, b""),
        "half body": (transfer + b'{"amount": 1, ', b""),
        "unread": (LARGE * REQUESTS_AT_ONCE, b""),
    }


def running(base: str, size: int, token: str, wanted: Iterable[str]) -> AbstractAsyncContextManager[dict[str, Any]]:
    """Run slow clients of these kinds in a separate process during the block."""
    return load_process.running("tests.harness.slow_clients", base, str(size), token, *wanted)


@dataclass(slots=True)
class Result:
    """The results of one kind: number of cuts, longest time open in seconds, first lines received."""

    cut: int = 0
    open_seconds_max: float = 0.0
    first_lines: list[str] = field(default_factory=list)


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.lost = asyncio.get_running_loop().create_future()
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received = self.received or data

    def connection_lost(self, _exc: Exception | None) -> None:
        self.lost.set_result(None)


async def _run(base: str, size: int, token: str, wanted: Iterable[str]) -> dict[str, Any]:
    ended = load_process.stop_requested()
    every = {kind: kinds(token)[kind] for kind in wanted}
    results = {kind: Result() for kind in every}
    names = [list(every)[number % len(every)] for number in range(size)]
    open_ = asyncio.Semaphore(0)

    async def one(kind: str) -> None:
        while not ended.done():
            began = time.monotonic()
            connection, transport = await _open(base)
            open_.release()
            await _send_slowly(connection, transport, kind, every[kind])
            result = results[kind]
            result.cut += 1
            result.open_seconds_max = max(result.open_seconds_max, time.monotonic() - began)
            line = connection.received.partition(b"\r\n")[0].decode()
            if line not in result.first_lines:
                result.first_lines.append(line)

    async def report_when_open() -> None:
        for _ in range(size):
            await open_.acquire()
        load_process.report_ready()

    await asyncio.gather(report_when_open(), *(one(kind) for kind in names))
    return {kind: asdict(result) for kind, result in results.items()}


async def _open(base: str) -> tuple[_Connection, asyncio.Transport]:
    where = urlsplit(base)
    plain = socket.socket()
    plain.setblocking(False)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED_BYTES_MAX)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(plain, (where.hostname, where.port))
    transport, connection = await loop.create_connection(_Connection, sock=plain)
    return connection, transport


async def _send_slowly(
    connection: _Connection, transport: asyncio.Transport, kind: str, sends: tuple[bytes, bytes]
) -> None:
    first, drips = sends
    transport.write(first)
    if kind == "unread":
        # A client that does not read detects the close only when it writes.
        transport.pause_reading()
        while not connection.lost.done():
            await asyncio.wait([connection.lost], timeout=WRITE_SECONDS)
            transport.write(LARGE)
    for byte in drips:
        await asyncio.wait([connection.lost], timeout=DRIP_SECONDS)
        if connection.lost.done():
            return
        transport.write(bytes([byte]))
    await connection.lost


def _post(path: str, headers: str) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n{headers}\r\n"
    return head.encode()


if __name__ == "__main__":
    _base, _size, _token, *_wanted = sys.argv[1:]
    load_process.report(asyncio.run(_run(_base, int(_size), _token, _wanted)))
