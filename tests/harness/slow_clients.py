"""A crowd of slow clients: they hold their connections, and do nothing with them that would ever come to an end.

`python -m tests.harness.slow_clients BASE SIZE TOKEN KIND...`: so many connections of these kinds, each opened again as soon as
it was cut. When told to end, it waits until those that are open are cut, too. Tells of each kind how many were cut, after how
long at most, and what they were told.
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

from tests.harness import crowds

DRIP_SECONDS = 1.0
ASK_SECONDS = 0.25
HEAD = b"GET /api/v1/currencies HTTP/1.1\r\nHost: x\r\n"
LARGE = b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
ASKED_AT_ONCE = 4
RECEIVED_BYTES_MAX = 4096
SEGMENT_BYTES = 1460
"""As on a network: over the loopback, with its own, the kernel would take megabytes of answers that nobody reads."""


def kinds(token: str) -> dict[str, tuple[bytes, bytes]]:
    """By name, what is sent at once, and what then at one byte a second."""
    transfer = _post("/api/v1/transfers", f"Authorization: Bearer {token}\r\nIdempotency-Key: slow\r\n")
    return {
        "headers": (HEAD + b"X-Slow: ", b"x" * 600),
        "body": (transfer, b'{"amount": 1, ' + b" " * 600),
        "login": (_post("/api/v1/auth/login", ""), b'{"email": ' + b" " * 600),
        "stranger": (_post("/api/v1/transfers", "Authorization: Bearer x\r\n"), b" " * 600),
        "silence": (b"", b""),
        "half headers": (HEAD, b""),
        "half body": (transfer + b'{"amount": 1, ', b""),
        "unread": (LARGE * ASKED_AT_ONCE, b""),
    }


def crowd(base: str, size: int, token: str, wanted: Iterable[str]) -> AbstractAsyncContextManager[dict[str, Any]]:
    """The crowd, of these kinds, in a process of its own, beside what is done inside."""
    return crowds.beside("tests.harness.slow_clients", base, str(size), token, *wanted)


@dataclass(slots=True)
class Fate:
    """What became of those of one kind: how many were cut, the longest life in seconds, the first lines they were told."""

    cut: int = 0
    lived_max: float = 0.0
    told: list[str] = field(default_factory=list)


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.lost = asyncio.get_running_loop().create_future()
        self.said = b""

    def data_received(self, data: bytes) -> None:
        self.said = self.said or data

    def connection_lost(self, _exc: Exception | None) -> None:
        self.lost.set_result(None)


async def _hold(base: str, size: int, token: str, wanted: Iterable[str]) -> dict[str, Any]:
    ended = crowds.told_to_end()
    every = {kind: kinds(token)[kind] for kind in wanted}
    fates = {kind: Fate() for kind in every}
    names = [list(every)[number % len(every)] for number in range(size)]
    open_ = asyncio.Semaphore(0)

    async def one(kind: str) -> None:
        while not ended.done():
            began = time.monotonic()
            connection, transport = await _open(base)
            open_.release()
            await _be_slow(connection, transport, kind, every[kind])
            fate = fates[kind]
            fate.cut += 1
            fate.lived_max = max(fate.lived_max, time.monotonic() - began)
            line = connection.said.partition(b"\r\n")[0].decode()
            if line not in fate.told:
                fate.told.append(line)

    async def say_when_open() -> None:
        for _ in range(size):
            await open_.acquire()
        crowds.say_ready()

    await asyncio.gather(say_when_open(), *(one(kind) for kind in names))
    return {kind: asdict(fate) for kind, fate in fates.items()}


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


async def _be_slow(
    connection: _Connection, transport: asyncio.Transport, kind: str, sends: tuple[bytes, bytes]
) -> None:
    first, drips = sends
    transport.write(first)
    if kind == "unread":
        # Who does not read learns only by writing that the other side has gone.
        transport.pause_reading()
        while not connection.lost.done():
            await asyncio.wait([connection.lost], timeout=ASK_SECONDS)
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
    crowds.tell(asyncio.run(_hold(_base, int(_size), _token, _wanted)))
