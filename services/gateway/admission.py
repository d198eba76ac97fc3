"""The first thing inside the door: while too many wait to be accepted, who comes to move money is told so at once.

It stands before the token, the body, the cache and even what observes every request. A refusal behind them costs most of
what an acceptance does; a crowd that is turned away then takes the time of those who are inside, and of those who read.
"""

from __future__ import annotations

import json

from aiohttp import web

from services.chassis import metrics, problems, tracing
from services.chassis.problems import Handler
from services.gateway import operations
from services.gateway.errors import Busy
from services.gateway.intake import INTAKE, busy

_REFUSAL = busy()
_BEFORE_ID, _, _AFTER_ID = json.dumps(_REFUSAL.problem() | {"request_id": "@"}).encode().rpartition(b"@")


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what moves money while the intake is full; let everything else through."""
    if request.app[INTAKE].is_full and _moves_money(request):
        return _refuse(request)
    return await handler(request)


def _moves_money(request: web.Request) -> bool:
    # Exactly these operations may answer `busy`.
    operation = operations.of(request)
    return operation is not None and Busy in operation.refusals


def _refuse(request: web.Request) -> web.Response:
    # Nobody behind sees this request: it is counted here, and its id stands in the answer as in any other.
    request_id = tracing.choose_request_id(request.headers)
    metrics.HTTP_SECONDS.labels("gateway", problems.route_of(request), request.method, _REFUSAL.status).observe(0)
    return web.Response(
        body=_BEFORE_ID + request_id.encode() + _AFTER_ID,
        status=_REFUSAL.status,
        headers=_REFUSAL.headers | {tracing.REQUEST_ID: request_id, "Content-Type": "application/problem+json"},
    )
