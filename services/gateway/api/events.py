"""The route of live events."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

from services.chassis import server, tracing
from services.chassis.body import InvalidRequest
from services.contracts.api_keys import Scope
from services.contracts.refusal import FieldError
from services.gateway import errors, event_stream, operations, schemas
from services.gateway.live import HUB, POSITION_SECONDS, Ending, Hub, Stream
from services.gateway.operations import Operation, Response
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.security.revocations import REVOCATIONS

BASE = f"{operations.BASE}/events"

HEARTBEAT_SECONDS = 15.0
WRITE_SECONDS = 5.0
"""For a client to accept what was sent once all buffers in between are full. It loses nothing: it can resume."""

_HEADERS = {
    "Content-Type": f"{event_stream.MEDIA_TYPE}; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}

_DETAILS = {
    Ending.TOKEN_EXPIRED: "The access token has expired: refresh it and connect again.",
    Ending.SESSION_ENDED: "The session has ended: log in again.",
    Ending.SERVER_DRAINING: "This gateway is shutting down: connect again.",
}


async def stream_events(request: web.Request) -> web.StreamResponse:
    """Stream live events (Server-Sent Events).

    The `id` of an event is its number in the user's feed: 1, 2, 3 and so on, without gaps. Reconnect with the last one as
    `Last-Event-ID` to receive every later event, in order, each once; without it the stream starts now. `reset` means that the
    stream cannot be resumed: reload what you show. A comment is sent every 15 seconds when nothing else is. `token_expired`,
    `session_ended` and `server_draining` have no id, come last and say why the stream ends. A client that does not read is
    disconnected.
    """
    after = _last_event_id(request)
    if request.method == "HEAD":
        return web.Response(headers=_HEADERS)
    principal, hub = request[PRINCIPAL], request.app[HUB]
    async with hub.open(
        principal.user_id,
        principal.session_id,
        after=after,
        is_disconnected=lambda: _is_disconnected(request),
    ) as stream:
        if request.app[REVOCATIONS].is_revoked(principal.session_id):
            stream.end(Ending.SESSION_ENDED)
        expiry = asyncio.get_running_loop().call_later(
            max(0.0, principal.ends_at - time.monotonic()), stream.end, Ending.TOKEN_EXPIRED
        )
        try:
            return await _serve(request, hub, stream)
        finally:
            expiry.cancel()


async def _serve(request: web.Request, hub: Hub, stream: Stream) -> web.StreamResponse:
    position = await stream.position(POSITION_SECONDS)
    response = web.StreamResponse(headers=_HEADERS | {tracing.REQUEST_ID: tracing.request_id()})
    try:
        await response.prepare(request)
        request[server.RESPONDED_AT] = time.perf_counter()
        await _write(response, event_stream.opening(position))
        while stream.ending is None:
            # Only writing reveals that a client is gone, so a comment is sent when there is nothing else.
            taken = await hub.take(stream, HEARTBEAT_SECONDS)
            if stream.ending is None:
                await _write(response, taken or event_stream.HEARTBEAT)
        if stream.ending in _DETAILS:
            detail = {"code": stream.ending, "detail": _DETAILS[stream.ending]}
            await _write(response, event_stream.ending(stream.ending, detail))
    except ConnectionError:
        stream.end(Ending.DISCONNECTED)
    except TimeoutError:
        stream.end(Ending.TOO_SLOW)
        if request.transport is not None:
            request.transport.abort()
    return response


async def _write(response: web.StreamResponse, content: bytes) -> None:
    async with asyncio.timeout(WRITE_SECONDS):
        await response.write(content)


def _last_event_id(request: web.Request) -> int | None:
    values = request.headers.getall(event_stream.LAST_EVENT_ID, ())
    if not values:
        return None
    after = event_stream.parse_last_event_id(values[0]) if len(values) == 1 else None
    if after is None:
        raise InvalidRequest(
            errors=[FieldError(event_stream.LAST_EVENT_ID, "is not the id of an event of this stream")]
        )
    return after


def _is_disconnected(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


OPERATIONS = (
    Operation(
        "GET",
        BASE,
        stream_events,
        (
            Response(
                200,
                "The stream; it continues until either side closes it.",
                media_type=event_stream.MEDIA_TYPE,
                events={
                    "transfer.pending": schemas.events.TransferUpdate,
                    "transfer.completed": schemas.events.TransferUpdate,
                    "transfer.failed": schemas.events.TransferUpdate,
                    "notification": schemas.events.Notification,
                    "reset": schemas.events.StreamReset,
                    **dict.fromkeys(sorted(_DETAILS), schemas.events.StreamEnd),
                },
            ),
        ),
        headers=(event_stream.LAST_EVENT_ID,),
        refusals=(errors.TooManyStreams, errors.NoStreamLeft),
        seconds=None,
        key_scope=Scope.READ,
    ),
)
