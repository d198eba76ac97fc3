"""Refusals and faults as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web
from structlog.contextvars import clear_contextvars

from services.chassis import tracing
from services.chassis.database import DatabaseUnavailable, LockTimeout, is_unavailable
from services.contracts.refusal import Refusal

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_CODES = {
    404: ("not_found", "There is nothing at this address"),
    405: ("method_not_allowed", "This address does not take this method"),
    411: ("length_required", "The request needs a length"),
    413: ("body_too_large", "The body is too large"),
    415: ("unsupported_media_type", "The body is not JSON"),
    417: ("expectation_failed", "No other expectation than 100-continue is met"),
}


class Fault(Refusal):
    """Something went wrong on our side."""

    status = 500
    code = "internal_error"
    retry_helps = True


def render(refusal: Refusal) -> web.Response:
    """The answer of a refusal, with the request id by which operators find its log lines."""
    document = refusal.problem() | {"request_id": tracing.request_id()}
    return web.Response(
        body=json.dumps(document).encode(),
        status=refusal.status,
        headers=refusal.headers,
        content_type="application/problem+json",
    )


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn everything raised below into a problem document; nothing of our inside leaves."""
    try:
        return await handler(request)
    except Refusal as refusal:
        return render(refusal)
    except web.HTTPException as answer:
        if answer.status < 400:  # noqa: PLR2004 - redirects and the like are answers
            raise
        return _render_http(answer)
    except Exception as error:
        if is_unavailable(error) or isinstance(error, LockTimeout):
            return render(DatabaseUnavailable())
        log.exception("request_failed", method=request.method, route=route_of(request))
        return render(Fault())


async def on_prepare(request: web.Request, response: web.StreamResponse) -> None:
    """An expectation is refused before any middleware is asked; here that answer becomes a problem document too."""
    if not isinstance(response, web.HTTPExpectationFailed):
        return
    # What is bound here belongs to the request before it on this line, if to any.
    clear_contextvars()
    request_id = tracing.bind(request.headers)
    rendered = _render_http(response)
    response.body = rendered.body
    response.headers.update(rendered.headers)
    response.headers["Content-Length"] = str(len(response.body or b""))
    response.headers[tracing.REQUEST_ID] = request_id


def route_of(request: web.Request) -> str:
    """The route's pattern (never the raw path: its values are without bound)."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unmatched"


def _render_http(answer: web.HTTPException) -> web.Response:
    code, title = _CODES.get(answer.status, ("bad_request", answer.reason))
    document = {
        "type": f"urn:payflow:problem:{code}",
        "title": title,
        "status": answer.status,
        "detail": title,
        "code": code,
        "errors": [],
        "request_id": tracing.request_id(),
    }
    headers = {"Allow": answer.headers["Allow"]} if "Allow" in answer.headers else None
    return web.Response(
        body=json.dumps(document).encode(),
        status=answer.status,
        headers=headers,
        content_type="application/problem+json",
    )
