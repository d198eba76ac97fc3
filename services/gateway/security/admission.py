"""Admission control: shed load before any other work when a queue is full.

It runs before the token, the body, the cache and even the measurement of the request. A later refusal would cost most of what an
acceptance does, and a refused burst would take time from admitted requests and from reads.
"""

from __future__ import annotations

from collections.abc import Iterator

from aiohttp import web

from services.chassis import metrics, problems, tracing
from services.chassis.encoding import encode
from services.contracts.refusal import Unavailable
from services.gateway import intake, operations
from services.gateway.intake import INTAKE
from services.gateway.security import passwords
from services.gateway.security.passwords import PASSWORDS


def shed(request: web.Request) -> web.Response | None:
    """Refuse transfers while the intake is full, and password checks while too many are under way."""
    for refusal in _refusals(request.app):
        operation = operations.of(request)
        # Only operations that document this refusal are affected.
        if operation is not None and type(refusal) in operation.refusals:
            return _refuse(request, refusal)
    return None


def _refusals(app: web.Application) -> Iterator[Unavailable]:
    if app[INTAKE].is_full:
        yield intake.busy()
    if app[PASSWORDS].is_full:
        yield passwords.busy()


def _refuse(request: web.Request, refusal: Unavailable) -> web.Response:
    # Nothing else sees this request, so it is measured here and gets its request id here.
    request_id = tracing.choose_request_id(request.headers)
    metrics.http_seconds(
        "gateway", route=problems.route_of(request), method=request.method, status=refusal.status
    ).observe(0)
    return web.Response(
        body=encode(refusal.problem() | {"request_id": request_id}),
        status=refusal.status,
        headers=refusal.headers | {tracing.REQUEST_ID: request_id, "Content-Type": "application/problem+json"},
    )
