"""Files that are sent while they are read: of any length, in bounded memory, and visibly incomplete when they are.

A file that cannot be completed ends with the connection, before the last chunk of its body (RFC 9112, 8): the client sees an
incomplete response, never a shorter file.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import structlog
from aiohttp import hdrs, web

from services.chassis import server, tracing
from services.gateway import compression

log = structlog.get_logger()


async def send(
    request: web.Request, parts: AsyncGenerator[str], *, content_type: str, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Send the parts as one response. A part is asked for when the client has taken most of the one before."""
    response = web.StreamResponse(headers={**headers, tracing.REQUEST_ID: tracing.request_id()})
    response.content_type, response.charset = content_type, "utf-8"
    if compression.takes_gzip(request):
        response.enable_compression(web.ContentCoding.gzip)
    response.headers[hdrs.VARY] = f"{response.headers.get(hdrs.VARY, hdrs.ACCEPT)}, {hdrs.ACCEPT_ENCODING}"
    await response.prepare(request)
    request[server.ANSWERED_AT] = time.perf_counter()
    try:
        async with aclosing(parts):
            async for part in parts:
                await response.write(part.encode())
    except ConnectionError:
        log.info("file_client_disconnected")
    except Exception as error:  # noqa: BLE001 - whatever it is, the headers are sent: only the connection can tell
        log.warning("file_aborted", error=repr(error))
        _abort(request)
    return response


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
