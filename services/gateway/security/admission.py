"""The first thing inside the gateway: where too many wait already, whoever comes to wait with them is told so at once.

It stands before the token, the body, the cache and even what observes every request. A refusal behind them costs most of
what an acceptance does; a crowd that is turned away then takes the time of those who are inside, and of those who read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from aiohttp import web

from services.chassis import metrics, problems, tracing
from services.chassis.problems import Handler
from services.contracts.refusal import Unavailable
from services.gateway import intake, operations
from services.gateway.intake import INTAKE
from services.gateway.security import passwords
from services.gateway.security.passwords import PASSWORDS


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what moves money while the intake is full, and what shows a password while too many do; let all else through."""
    for refusal in _refusals(request.app):
        operation = operations.of(request)
        # Exactly the operations that may answer so are meant.
        if operation is not None and type(refusal) in operation.refusals:
            return _refuse(request, refusal)
    return await handler(request)


def _refusals(app: web.Application) -> Iterator[Unavailable]:
    if app[INTAKE].is_full:
        yield intake.busy()
    if app[PASSWORDS].is_full:
        yield passwords.busy()


def _refuse(request: web.Request, refusal: Unavailable) -> web.Response:
    # Nobody behind sees this request: it is counted here, and its id stands in the answer as in any other.
    request_id = tracing.choose_request_id(request.headers)
    metrics.HTTP_SECONDS.labels("gateway", problems.route_of(request), request.method, refusal.status).observe(0)
    return web.Response(
        body=json.dumps(refusal.problem() | {"request_id": request_id}).encode(),
        status=refusal.status,
        headers=refusal.headers | {tracing.REQUEST_ID: request_id, "Content-Type": "application/problem+json"},
    )
