"""The connection watchdog: deadlines for request headers and for reading responses, and limits on open connections.

aiohttp closes a connection that idles between two requests, but has no deadline for the headers of a request. The deadline of a
body is enforced where it is read.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import structlog
from aiohttp import StreamReader, web

from services.chassis import metrics, problems, tracing
from services.chassis.encoding import encode
from services.contracts.refusal import Refusal

log = structlog.get_logger()

HEADER_SECONDS = 8.0
"""From the opening of a connection, or the first byte after a response, to the end of the headers."""

RESPONSE_SECONDS = 10.0
"""How long a client may leave a response unread. Only a response larger than the buffers on the way waits for its client, which
must then read about 5 kB a second."""

LINGER_SECONDS = 3.0
"""How long the rest of a body is read and discarded after the response."""

SWEEP_SECONDS = 1.0

CUTS_AT_ONCE = 4
PAUSE_SECONDS = 0.001
"""After so many closed connections: clients that connected together are late together, and reconnect at once."""


class RequestTooSlow(Refusal):
    """The request did not arrive in time."""

    status = 408
    code = "request_timeout"
    retry_helps = True


class NotHttp(Refusal):
    """The request is not valid HTTP."""

    status = 400
    code = "bad_request"


@dataclass(eq=False)
class Watchdog:
    """All connections of one server. `headers` are added to responses that no handler has made."""

    service: str
    headers: Mapping[str, str] = field(default_factory=dict)
    connections_max: int | None = None
    per_address_max: int | None = None
    _connections: set[Connection] = field(default_factory=set)
    _addresses: Counter[str] = field(default_factory=Counter)

    def admit(self, connection: Connection) -> bool:
        """Whether the limits allow one more connection of this address; if so, it is counted until `forget`."""
        total, of_address = len(self._connections), self._addresses[connection.address]
        if _is_full(total, self.connections_max) or _is_full(of_address, self.per_address_max):
            metrics.CONNECTIONS_CUT.labels(self.service, "limit").inc()
            return False
        self._connections.add(connection)
        self._addresses[connection.address] += 1
        return True

    def forget(self, connection: Connection) -> None:
        """Stop counting a connection that has ended."""
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        self._addresses[connection.address] -= 1
        if not self._addresses[connection.address]:
            del self._addresses[connection.address]

    async def run(self) -> None:
        """Close late connections, once a second, until cancelled."""
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
    """One connection as aiohttp serves it, with deadlines."""

    __slots__ = ("_ahead", "_at_work", "_begun", "_content", "_stuck_since", "_waiting_since", "_watchdog", "address")

    def __init__(self, server: web.Server, watchdog: Watchdog, *, keepalive_seconds: float) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=keepalive_seconds,
            lingering_time=LINGER_SECONDS,
            # Encoded bodies are refused everywhere, so none is ever unpacked.
            auto_decompress=False,
            access_log=None,  # type: ignore[arg-type] # the runner passes None for "no access log", too
        )
        self.address = ""
        self._watchdog = watchdog
        self._waiting_since: float | None = None
        self._stuck_since: float | None = None
        self._content: StreamReader | None = None
        self._begun = self._at_work = self._ahead = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the connection, or abort it if a limit is reached."""
        self.address = str((transport.get_extra_info("peername") or ("",))[0])
        if not self._watchdog.admit(self):
            cast(asyncio.Transport, transport).abort()
            return
        self._waiting_since = asyncio.get_running_loop().time()
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop counting the connection."""
        self._watchdog.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Record when the headers of a request begin: with the first data after the body of the request before."""
        if data and (self._content is None or self._content.is_eof()):
            self._begun = True
            if self._at_work:
                self._ahead = True
            elif self._waiting_since is None:
                self._waiting_since = asyncio.get_running_loop().time()
        super().data_received(data)

    def pause_writing(self) -> None:
        """The client is not reading."""
        self._stuck_since = asyncio.get_running_loop().time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client is reading again."""
        self._stuck_since = None
        super().resume_writing()

    def begin(self, content: StreamReader) -> None:
        """The headers of a request are complete; the data until the end of `content` is its body."""
        self._content = content
        self._waiting_since = None
        self._at_work, self._begun, self._ahead = True, False, False

    def end(self) -> None:
        """The response is complete. If part of the next request has arrived, its deadline starts now."""
        self._at_work = False
        if self._ahead:
            self._waiting_since = asyncio.get_running_loop().time()

    def cut_if_late(self, now: float) -> str | None:
        """Close this connection if its client is too slow; the reason, None if it is not."""
        transport = self.transport
        if transport is None:
            return None
        if self._stuck_since is not None and now - self._stuck_since > RESPONSE_SECONDS:
            transport.abort()
            return "response"
        if self._waiting_since is None or now - self._waiting_since <= HEADER_SECONDS:
            return None
        if transport.get_write_buffer_size():
            # The client is still reading the response before, so the data after it was not parsed yet.
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
        """Refuse a request that is not HTTP with a problem document, and close the connection."""
        if status != NotHttp.status:
            return super().handle_error(request, status, exc, message)
        # No middleware has run: the bound ids belong to the request before on this connection, if any.
        request_id = tracing.bind({})
        log.info("request_unreadable", reason=type(exc).__name__)
        response = problems.render(NotHttp())
        # Without this aiohttp would send its own name and version: our hooks do not run for an invalid request.
        ours = {"Server": self._watchdog.service, tracing.REQUEST_ID: request_id}
        response.headers.update({**self._watchdog.headers, **ours})
        response.force_close()
        return response

    def _raw(self, refusal: Refusal) -> bytes:
        # Without a request there is no response object, so the bytes are written directly.
        request_id = tracing.request_id()
        body = encode(refusal.problem() | {"request_id": request_id})
        headers = {
            "Content-Type": "application/problem+json",
            "Content-Length": str(len(body)),
            "Connection": "close",
            tracing.REQUEST_ID: request_id,
            **self._watchdog.headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {refusal.status} Request Timeout\r\n{lines}\r\n".encode() + body


def begin(request: web.Request) -> Connection | None:
    """Mark the connection of this request as at work: handlers have no deadline here. Its caller must call `end`.

    None if the connection has no watchdog.
    """
    connection: Any = request.protocol
    if not isinstance(connection, Connection):
        return None
    connection.begin(request.content)
    return connection


def _is_full(count: int, most: int | None) -> bool:
    return most is not None and count >= most
