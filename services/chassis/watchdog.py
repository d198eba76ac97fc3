"""Who sends its headers too slowly, or takes no answer, is cut off; and nobody holds more connections than its share.

aiohttp closes a connection that idles between two requests, but has no deadline for the headers of one. A body has its
deadline where it is read.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import structlog
from aiohttp import StreamReader, web
from structlog.contextvars import clear_contextvars

from services.chassis import metrics, problems, tracing
from services.chassis.problems import Handler
from services.contracts.refusal import Refusal

log = structlog.get_logger()

HEADER_SECONDS = 8.0
"""From the opening of a connection, or the first byte after an answer, to the end of the headers."""

ANSWER_SECONDS = 10.0
"""How long a client may leave an answer unread before it counts as gone. Only what is larger than the buffers on the way waits
for it: to keep its place it has to take about 5 kB a second."""

LINGER_SECONDS = 3.0
"""How long a body is still read, and thrown away, after its request was answered without it."""

SWEEP_SECONDS = 1.0

CUTS_AT_ONCE = 4
PAUSE_SECONDS = 0.001
"""After so many cuts. A crowd that came together is late together, and is back as soon as it was cut."""


class RequestTooSlow(Refusal):
    """The request did not arrive in time."""

    status = 408
    code = "request_timeout"
    retry_helps = True


class NotHttp(Refusal):
    """The request is not HTTP that we accept."""

    status = 400
    code = "bad_request"


@dataclass(eq=False)
class Watchdog:
    """Knows every connection of one server. `headers` go with the answers that no handler gave."""

    service: str
    headers: Mapping[str, str] = field(default_factory=dict)
    connections_max: int | None = None
    per_address_max: int | None = None
    _connections: set[Connection] = field(default_factory=set)
    _addresses: Counter[str] = field(default_factory=Counter)

    def admit(self, connection: Connection) -> bool:
        """Whether one more connection of this address fits; then it is known until `forget`."""
        everybody, one = len(self._connections), self._addresses[connection.address]
        if _is_full(everybody, self.connections_max) or _is_full(one, self.per_address_max):
            metrics.CONNECTIONS_CUT.labels(self.service, "crowd").inc()
            return False
        self._connections.add(connection)
        self._addresses[connection.address] += 1
        return True

    def forget(self, connection: Connection) -> None:
        """The connection has ended."""
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        self._addresses[connection.address] -= 1
        if not self._addresses[connection.address]:
            del self._addresses[connection.address]

    async def keep(self) -> None:
        """Look after all connections, once a second."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            cuts = 0
            for connection in list(self._connections):
                reason = connection.cut_if_late(loop.time())
                if reason is None:
                    continue
                metrics.CONNECTIONS_CUT.labels(self.service, reason).inc()
                cuts += 1
                if cuts % CUTS_AT_ONCE == 0:
                    await asyncio.sleep(PAUSE_SECONDS)


class Connection(web.RequestHandler):
    """One connection, as aiohttp serves it, with an eye on the clock."""

    __slots__ = ("_ahead", "_at_work", "_begun", "_content", "_stuck_since", "_waiting_since", "_watchdog", "address")

    def __init__(self, server: web.Server, watchdog: Watchdog, *, keepalive_seconds: float) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=keepalive_seconds,
            lingering_time=LINGER_SECONDS,
            # No encoded body is taken anywhere: so none is ever unpacked, either.
            auto_decompress=False,
            access_log=None,  # type: ignore[arg-type] # as the runner itself says "no access log"
        )
        self.address = ""
        self._watchdog = watchdog
        self._waiting_since: float | None = None
        self._stuck_since: float | None = None
        self._content: StreamReader | None = None
        self._begun = self._at_work = self._ahead = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let it in, if there is room."""
        self.address = str((transport.get_extra_info("peername") or ("",))[0])
        if not self._watchdog.admit(self):
            cast(asyncio.Transport, transport).abort()
            return
        self._waiting_since = asyncio.get_running_loop().time()
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """It has ended."""
        self._watchdog.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Note when the headers of a request begin: with what comes after the body before them."""
        if data and (self._content is None or self._content.is_eof()):
            self._begun = True
            if self._at_work:
                self._ahead = True
            elif self._waiting_since is None:
                self._waiting_since = asyncio.get_running_loop().time()
        super().data_received(data)

    def pause_writing(self) -> None:
        """The client does not read."""
        self._stuck_since = asyncio.get_running_loop().time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client reads on."""
        self._stuck_since = None
        super().resume_writing()

    def begin(self, content: StreamReader) -> None:
        """A request is here with all its headers; what comes until `content` ends is its body."""
        self._content = content
        self._waiting_since = None
        self._at_work, self._begun, self._ahead = True, False, False

    def end(self) -> None:
        """Its answer is made. Whoever has sent part of the next request already has begun it."""
        self._at_work = False
        if self._ahead:
            self._waiting_since = asyncio.get_running_loop().time()

    def cut_if_late(self, now: float) -> str | None:
        """End this connection if its client is too slow, and say in what."""
        transport = self.transport
        if transport is None:
            return None
        if self._stuck_since is not None and now - self._stuck_since > ANSWER_SECONDS:
            transport.abort()
            return "answer"
        if self._waiting_since is None or now - self._waiting_since <= HEADER_SECONDS:
            return None
        if transport.get_write_buffer_size():
            # Still taking the answer before: then what came after it has not been looked at.
            self._waiting_since = now
            return None
        if self._begun:
            transport.write(self._raw(RequestTooSlow()))
        self.force_close()
        return "headers" if self._begun else "silent"

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is no HTTP is refused like anything else: with a problem document; then the connection ends."""
        if status != NotHttp.status:
            return super().handle_error(request, status, exc, message)
        # No middleware has seen it: what is bound here belongs to the request before it on this line, if to any.
        clear_contextvars()
        request_id = tracing.bind({})
        log.info("request_unreadable", reason=type(exc).__name__)
        response = problems.render(NotHttp())
        # aiohttp would tell its own name and version here: no hook of ours is asked for what is no request.
        ours = {"Server": self._watchdog.service, tracing.REQUEST_ID: request_id}
        response.headers.update({**self._watchdog.headers, **ours})
        response.force_close()
        return response

    def _raw(self, refusal: Refusal) -> bytes:
        # No request, no response object: the few bytes are written as they are.
        request_id = tracing.request_id()
        body = json.dumps(refusal.problem() | {"request_id": request_id}).encode()
        headers = {
            "Content-Type": "application/problem+json",
            "Content-Length": str(len(body)),
            "Connection": "close",
            tracing.REQUEST_ID: request_id,
            **self._watchdog.headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {refusal.status} Request Timeout\r\n{lines}\r\n".encode() + body


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The outermost one: tells the connection from when to when a request is at work. That may take as long as it likes."""
    connection: Any = request.protocol
    if not isinstance(connection, Connection):
        return await handler(request)
    connection.begin(request.content)
    try:
        return await handler(request)
    finally:
        connection.end()


def _is_full(count: int, most: int | None) -> bool:
    return most is not None and count >= most
