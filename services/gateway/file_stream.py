"""Files streamed while they are read: of any length, in bounded memory, and visibly incomplete if interrupted.

A file that cannot be completed ends with the connection, before the last chunk of its body (RFC 9112, 8): the client sees an
incomplete response, never a shorter file. HTTP/1.0 has no chunks, so an interrupted response would look complete: there, these
files are refused. At shutdown, files in progress are aborted: a client that does not read must not delay it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager

import structlog
from aiohttp import HttpVersion11, hdrs, web

from services.chassis import server, tracing
from services.gateway import compression
from services.gateway.errors import HttpVersionTooOld, TooManyFiles

FILES_OF_USER_MAX = 3
TOO_MANY_SECONDS = 5

log = structlog.get_logger()


class Files:
    """The files that this process is sending."""

    def __init__(self) -> None:
        self._by_user: Counter[str] = Counter()
        self._clocks: set[asyncio.Timeout] = set()
        self.is_stopping = False

    @contextmanager
    def slot(self, user_id: str) -> Iterator[None]:
        """A slot for one file of this user.

        Raises:
            TooManyFiles: the user has no slot left.
        """
        if self._by_user[user_id] >= FILES_OF_USER_MAX:
            raise TooManyFiles(headers={"Retry-After": str(TOO_MANY_SECONDS)})
        self._by_user[user_id] += 1
        try:
            yield
        finally:
            self._by_user -= Counter((user_id,))

    @asynccontextmanager
    async def until_stop(self) -> AsyncIterator[None]:
        """Run the block, at most until the process stops.

        Raises:
            TimeoutError: the process stops.
        """
        async with asyncio.timeout(0 if self.is_stopping else None) as clock:
            self._clocks.add(clock)
            try:
                yield
            finally:
                self._clocks.discard(clock)

    async def abort(self, _app: web.Application) -> None:
        """The process stops: abort every file in progress, and those that begin from now on."""
        self.is_stopping = True
        for clock in self._clocks:
            clock.reschedule(0)


FILES: web.AppKey[Files] = web.AppKey("files")


async def send(
    request: web.Request, parts: AsyncGenerator[str], *, user_id: str, content_type: str, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Send the parts as one response; for HEAD, its headers. A part is read once the client has received most of the previous.

    Raises:
        HttpVersionTooOld, TooManyFiles
    """
    if request.version < HttpVersion11:
        raise HttpVersionTooOld
    with request.app[FILES].slot(user_id):
        response = await _begin(request, content_type, headers)
        if request.method != hdrs.METH_HEAD:
            await _write(request, response, parts)
    return response


async def _begin(request: web.Request, content_type: str, headers: Mapping[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(headers={**headers, tracing.REQUEST_ID: tracing.request_id()})
    response.content_type, response.charset = content_type, "utf-8"
    # For HEAD the compressor would still write its trailer.
    if compression.accepts_gzip(request) and request.method != hdrs.METH_HEAD:
        response.enable_compression(web.ContentCoding.gzip)
    response.headers[hdrs.VARY] = f"{response.headers.get(hdrs.VARY, hdrs.ACCEPT)}, {hdrs.ACCEPT_ENCODING}"
    await response.prepare(request)
    request[server.RESPONDED_AT] = time.perf_counter()
    return response


async def _write(request: web.Request, response: web.StreamResponse, parts: AsyncGenerator[str]) -> None:
    files = request.app[FILES]
    try:
        async with files.until_stop(), aclosing(parts):
            async for part in parts:
                await response.write(part.encode())
    except ConnectionError:
        log.info("file_client_disconnected")
    except Exception as error:  # noqa: BLE001 - the headers are sent: only closing the connection can report an error
        log.warning("file_aborted", error="stopping" if files.is_stopping else repr(error))
        if request.transport is not None:
            request.transport.abort()
