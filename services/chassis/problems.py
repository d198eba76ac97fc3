"""Refusals and faults as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from services.chassis import tracing
from services.chassis.database import DatabaseUnavailable, LockTimeout, is_unavailable
from services.chassis.encoding import encode
from services.contracts.refusal import Refusal

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_CODES = {
    404: ("not_found", "The path does not exist"),
    405: ("method_not_allowed", "The method is not allowed for this path"),
    411: ("length_required", "The request requires a Content-Length header"),
    413: ("body_too_large", "The body is too large"),
    415: ("unsupported_media_type", "The body is not JSON"),
    417: ("expectation_failed", "The only supported expectation is 100-continue"),
}


class Fault(Refusal):
    """An internal error occurred."""

    status = 500
    code = "internal_error"
    retry_helps = True


def render(refusal: Refusal) -> web.Response:
    """The response of a refusal, with the request id by which operators find its log lines."""
    document = refusal.problem() | {"request_id": tracing.request_id()}
    return web.Response(
        body=encode(document),
        status=refusal.status,
        headers=refusal.headers,
        content_type="application/problem+json",
    )


def render_error(request: web.Request, error: Exception) -> web.Response:
    """The problem document of the exception that is being handled, without internal details. Redirects are raised again."""
    if isinstance(error, Refusal):
        return render(error)
    if isinstance(error, web.HTTPException):
        if error.status < 400:  # noqa: PLR2004 - a redirect, for instance
            raise error
        return _render_http(error)
    if is_unavailable(error) or isinstance(error, LockTimeout):
        return render(DatabaseUnavailable())
    log.error("request_failed", exc_info=error, method=request.method, route=route_of(request))
    return render(Fault())


async def on_prepare(request: web.Request, response: web.StreamResponse) -> None:
    """Convert the refusal of an expectation into a problem document: aiohttp refuses it before any middleware."""
    if not isinstance(response, web.HTTPExpectationFailed):
        return
    request_id = tracing.bind(request.headers)
    rendered = _render_http(response)
    response.body = rendered.body
    response.headers.update(rendered.headers)
    response.headers["Content-Length"] = str(len(response.body or b""))
    response.headers[tracing.REQUEST_ID] = request_id


def route_of(request: web.Request) -> str:
    """The pattern of the route. Never the raw path: its values are unbounded."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unmatched"


def _render_http(response: web.HTTPException) -> web.Response:
    code, title = _CODES.get(response.status, ("bad_request", response.reason))
    document = {
        "type": f"urn:payflow:problem:{code}",
        "title": title,
        "status": response.status,
        "detail": title,
        "code": code,
        "errors": [],
        "request_id": tracing.request_id(),
    }
    headers = {"Allow": response.headers["Allow"]} if "Allow" in response.headers else None
    return web.Response(
        body=encode(document),
        status=response.status,
        headers=headers,
        content_type="application/problem+json",
    )
